"""The simulator: runs short enough to be worked by hand."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.scaling.limits import best_constant, clairvoyant, constant_count
from llmcloud.scaling.observation import Bounds, Observation
from llmcloud.scaling.policies.constant import ConstantPolicy
from llmcloud.scaling.replay import POLICIES
from llmcloud.scaling.simulate import Model, Request, simulate


class Script:
    """Replicas by time; asks every second, sees everything."""

    interval_seconds = 1.0

    def __init__(self, *steps: tuple[float, int]) -> None:
        self._steps = steps
        self.seen: list[tuple[float, Observation]] = []

    def decide(self, now: float, observation: Observation) -> int:
        self.seen.append((now, observation))
        return [replicas for since, replicas in self._steps if since <= now][-1]


def model(slots: int = 1, cold: float = 100.0, warm: int = 1, low: int = 1) -> Model:
    """10 s for each request."""
    return Model(Bounds(slots, low, 8), 10.0, 0.0, 0.0, cold, warm)


def at(*times: float) -> list[Request]:
    return [Request(time, 0, 0) for time in times]


def test_requests_wait_in_order_for_the_only_slot() -> None:
    outcome = simulate(at(0, 1, 2), model(), ConstantPolicy(1))
    # Served at 0, 10 and 20: waits 0, 9 and 18; the last ends at 30.
    assert outcome.waits == [0, 9, 18]
    assert outcome.gpu_hours == pytest.approx(30 / 3600)
    assert [outcome.wait_percentile(p) for p in (50, 95)] == [9, 18]


def test_the_service_is_linear_in_tokens() -> None:
    linear = Model(Bounds(1, 1, 1), 1.0, 0.01, 0.5, 10.0)
    assert linear.service_seconds(Request(0, 200, 6)) == 1 + 2 + 3


def test_a_new_replica_serves_after_a_cold_start_within_its_spread() -> None:
    outcome = simulate(at(0, 0, 0), model(slots=1, cold=5.0), Script((0, 1), (1, 3)))
    # Two replicas are asked for within [1, 2], and ready 4.5 to 5.5 s later.
    assert outcome.waits[0] == 0
    assert all(5.5 <= wait <= 7.5 for wait in outcome.waits[1:])
    assert outcome.most_replicas == 3


def test_a_removed_replica_serves_what_it_has_and_then_ends() -> None:
    outcome = simulate(at(0, 0, 5), model(warm=2), Script((0, 2), (2, 1), (3, 1)))
    # Both are busy until 10. The one that is to go takes no more: the third waits 5 s for the
    # other one, which ends at 20: 10 + 20 replica seconds.
    assert outcome.waits == [0, 0, 5]
    assert outcome.gpu_hours == pytest.approx(30 / 3600)


def test_a_replica_that_is_not_ready_goes_first() -> None:
    script = Script((0, 1), (2, 2), (4, 1))
    outcome = simulate(at(0, 8), model(slots=2), script)
    # The second lives for 2 s of its cold start of 100 s.
    assert outcome.gpu_hours == pytest.approx((18 + 2) / 3600)
    assert outcome.reversals == 1


def test_requests_go_to_the_least_load() -> None:
    script = Script((0, 2))
    simulate(at(0, 0, 0, 0), model(slots=4, warm=2), script)
    assert {observation.loads for now, observation in script.seen if now < 10} == {(2, 2)}


def test_integrals_and_counters_add_up() -> None:
    script = Script((0, 1))
    simulate(at(0, 1), model(), script)
    last = next(o for now, o in script.seen if now > 19)
    # From 0 to now one request is in flight; the second waits from 1 to 10.
    now = next(now for now, _ in script.seen if now > 19)
    assert last.flight_seconds == pytest.approx(now)
    assert last.request_seconds == pytest.approx(now + 9)
    assert (last.arrivals, last.completions) == (2, 1)


def test_what_is_never_served_is_counted() -> None:
    outcome = simulate(at(0), model(warm=0, low=0), ConstantPolicy(0))
    assert outcome.unserved == 1
    assert outcome.waits[0] > 80_000


TIMES = st.lists(st.floats(0, 2000), min_size=1, max_size=60).map(sorted)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(times=TIMES, name=st.sampled_from(sorted(POLICIES)), seed=st.integers(1, 5))
def test_every_policy_serves_everything_within_bounds_the_same_way_each_time(
    times: Sequence[float], name: str, seed: int
) -> None:
    bounds = Bounds(2, 1, 4)
    shape = Model(bounds, 10.0, 0.0, 0.0, 60.0)
    one = simulate(at(*times), shape, POLICIES[name](bounds), seed)
    two = simulate(at(*times), shape, POLICIES[name](bounds), seed)
    assert one == two
    assert one.unserved == 0
    assert all(1 <= replicas <= 4 for _, replicas in one.timeline)
    assert all(before[0] < after[0] for before, after in pairwise(one.timeline[1:]))


def test_the_best_constant_is_the_smallest_that_is_good_enough() -> None:
    trace = at(*[0.0] * 8)
    # 8 at once on n slots: the last waits (ceil(8 / n) - 1) * 10 s: 70, 30, 20, 10, 10, 10, 10, 0.
    assert [best_constant(trace, model(), limit)[0] for limit in (70, 30, 29, 10, 0)] == [
        1, 2, 3, 4, 8,
    ]  # fmt: skip


def test_the_clairvoyant_keeps_or_restarts_whichever_costs_less() -> None:
    # One replica always; a second one from 0 to 10 and from 40 to 50. The gap of 30 s is less
    # than a cold start of 100 s: 50 + 100 + 10 + 30 + 10; but more than one of 20 s:
    # 50 + 20 + 10 + 20 + 10.
    trace = at(0, 0, 40, 40)
    for cold, seconds in ((100.0, 200), (20.0, 110)):
        limit = clairvoyant(trace, model(cold=cold))
        assert limit.gpu_hours == pytest.approx(seconds / 3600)
        assert (limit.wait_p99_seconds, limit.most_replicas) == (0, 2)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(times=TIMES)
def test_nobody_who_never_lets_wait_undercuts_the_clairvoyant(times: Sequence[float]) -> None:
    trace = at(*times)
    shape = model(slots=2)
    for replicas in range(1, 9):
        outcome = constant_count(trace, shape, replicas)
        if outcome.wait_percentile(100) == 0:
            # A constant count has no cold start within the run; the clairvoyant's are counted.
            cold = (replicas - 1) * shape.cold_start_seconds / 3600
            assert clairvoyant(trace, shape).gpu_hours <= outcome.gpu_hours + cold + 1e-9
            break
