"""Others' policies: decisions worked by hand from the rules of their sources. 32 slots each."""

from functools import partial

from llmcloud.scaling.policies.aibrix import AIBrix
from llmcloud.scaling.policies.dynamo import DynamoPlanner
from llmcloud.scaling.policies.hpa import HorizontalPodAutoscaler
from llmcloud.scaling.policies.knative import KnativePodAutoscaler
from llmcloud.scaling.policies.kubeai import KubeAI
from llmcloud.scaling.policies.ray_serve import RayServe
from llmcloud.scaling.policies.wva import WorkloadVariantAutoscaler
from tests.unit.scaling.seen import BOUNDS, seen


def test_hpa_follows_the_ratio_limits_its_speed_and_remembers_its_highest() -> None:
    hpa = HorizontalPodAutoscaler(BOUNDS)  # target 0.8 * 32 = 25.6 requests per replica
    # 27 requests: 27 / 25.6 = 1.05, within the tolerance of 0.1.
    assert hpa.decide(0, seen(1, loads=[27])) == 1
    # 32 + 70 = 102: ceil(102 / 25.6) = ceil(3.98) = 4; the limit is max(1 + 4, 1 * 2) = 5.
    assert hpa.decide(15, seen(1, loads=[32], waiting=70)) == 4
    # 32 + 268 = 300: ceil(11.7) = 12; 4 replicas 15 s ago: max(4 + 4, 4 * 2) = 8.
    assert hpa.decide(30, seen(4, loads=[32], waiting=268)) == 8
    # Nothing: 0 is recommended, but 12 was less than 300 s ago: min(8, 12) = 8.
    assert hpa.decide(45, seen(8)) == 8
    # At 330 s only recommendations of 0 are left; at least one replica stays.
    assert hpa.decide(330, seen(8)) == 1


def test_kpa_panics_holds_and_then_halves() -> None:
    kpa = KnativePodAutoscaler(BOUNDS)  # target 0.7 * 32 = 22.4
    assert kpa.decide(0, seen(1)) == 1
    # 200 request seconds in 2 s: both means are 100, ceil(100 / 22.4) = 5; 5 / 1 ready >= 2: panic.
    assert kpa.decide(2, seen(1, request_seconds=200)) == 5
    # 200 / 4 s = 50: ceil(2.2) = 3; 3 / 1 is still panic, which never goes down.
    assert kpa.decide(4, seen(5, ready=1, request_seconds=200)) == 5
    # The last panic was at 4; at 64 its 60 s are not over yet.
    assert kpa.decide(64, seen(5, request_seconds=200)) == 5
    # At 66 they are: the stable mean of (6, 66] is 0, but at least floor(5 / 2) = 2 stay.
    assert kpa.decide(66, seen(5, request_seconds=200)) == 2


def test_kubeai_averages_ten_minutes_with_zeros_and_goes_down_at_the_fourth_decision() -> None:
    kubeai = KubeAI(BOUNDS)
    # 1920 active, 59 zeros before: mean 32, ceil(32 / 32) = 1.
    assert kubeai.decide(0, seen(1, loads=[32], waiting=1888)) == 1
    # Twice: mean 3840 / 60 = 64, ceil(64 / 32) = 2. And none later: the mean stays.
    assert kubeai.decide(10, seen(1, loads=[32], waiting=1888)) == 2
    assert kubeai.decide(20, seen(2)) == 2
    # With 5 replicas, 2 are wanted; ceil(30 s / 10 s) = 3 lower decisions are let pass.
    assert [kubeai.decide(30 + 10 * look, seen(5)) for look in range(4)] == [5, 5, 5, 2]


def test_ray_serve_acts_when_thirty_looks_agreed_before() -> None:
    ray = RayServe(BOUNDS)  # target 0.7 * 32 = 22.4
    # 100 requests all the time: ceil(100 / 22.4) = ceil(4.46) = 5. The first look has no mean yet;
    # those from 1 s to 30 s are the 30 that must agree, the one at 31 s acts.
    decisions = [ray.decide(t, seen(1, request_seconds=100.0 * t)) for t in range(32)]
    assert decisions == [1] * 31 + [5]
    # Silence from 31 s on. The mean of 30 s is 3000 / 30 - 100 / 30 * x after x s: up to 10 s later
    # it needs ceil(66.7 / 22.4) = 3 or more, so it is lower than 5 from x = 4 on (ceil(3.87) = 4).
    down = [ray.decide(31 + x, seen(5, request_seconds=3100.0)) for x in range(1, 606)]
    # 600 looks agree, from x = 4 to 603 (at x = 3, 90 / 22.4 = 4.02 still needs 5); the next acts.
    assert down.index(1) + 1 == 604
    assert set(down[:603]) == {5}


def test_apa_doubles_at_most_counts_pending_as_idle_and_takes_the_lowest_of_five_minutes() -> None:
    apa = AIBrix(BOUNDS)  # target 0.8 * 32 = 25.6
    assert apa.decide(0, seen(1)) == 1
    # 640 request seconds in 10 s on one ready replica: 64 each, ratio 2.5: min(ceil(2.5), 2) = 2.
    assert apa.decide(10, seen(1, request_seconds=640)) == 2
    # Still 64 on the ready one: min(ceil(2 * 2.5), 4) = 4; the pending one counts as idle:
    # ceil(2 * (64 * 1 / 2) / 25.6) = ceil(2.5) = 3.
    assert apa.decide(20, seen(2, ready=1, request_seconds=1280)) == 3
    # All 3 ready and idle for 180 s: the mean of the window is 0: max(0, floor(3 / 2)) = 1.
    assert apa.decide(200, seen(3, request_seconds=1280)) == 1


def test_wva_adds_one_when_spare_is_low_and_takes_one_when_the_rest_keeps_enough() -> None:
    wva = WorkloadVariantAutoscaler(BOUNDS)
    # 24 / 32 = 0.75 of the cache: spare 0.8 - 0.75 = 0.05 < 0.1.
    assert wva.decide(0, seen(2, loads=[24, 24])) == 3
    # 0.5 each: spare 0.3; on one, 0.5 * 2 = 1.0 leaves 0.8 - 1.0 < 0.1: neither up nor down.
    assert wva.decide(60, seen(2, loads=[16, 16])) == 2
    # 0.25 each: on one, 0.5 leaves 0.3 >= 0.1, and the queue's spare is 5 >= 3.
    assert wva.decide(120, seen(2, loads=[8, 8])) == 1
    # 6 waiting, 3 per replica: spare 5 - 3 = 2 < 3.
    assert wva.decide(180, seen(2, loads=[8, 8], waiting=6)) == 3
    # One that is pending stops everything.
    assert wva.decide(240, seen(3, loads=[32, 32], waiting=99)) == 3


def test_dynamo_adds_one_above_its_target_and_takes_one_when_the_rest_would_hold() -> None:
    dynamo = DynamoPlanner(BOUNDS)
    done = partial(seen, completions=100, flight_seconds=1000.0)  # 10 s each
    # 8 waiting, 4 per engine: 4 * 10 / 32 = 1.25 s > 0.5 s.
    assert dynamo.decide(0, done(2, loads=[32, 32], waiting=8)) == 3
    # 1 per engine: 0.31 s is below it; on one engine 2 * 10 / 32 = 0.63 s >= 0.8 * 0.5 s.
    assert dynamo.decide(5, done(2, loads=[8, 8], waiting=2)) == 2
    # Nobody waits, the busier engine's load doubled is 24 < 32; but 2 * 16 is not.
    assert dynamo.decide(10, done(2, loads=[10, 12])) == 1
    assert dynamo.decide(15, done(2, loads=[10, 16])) == 2
    # Frozen while one is coming, and blind before 5 completions.
    assert dynamo.decide(20, done(3, loads=[32, 32], waiting=99)) == 3
    assert dynamo.decide(25, seen(2, loads=[32, 32], waiting=99, completions=4)) == 2
