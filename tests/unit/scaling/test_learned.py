"""Our policy: what it learns, and why it decides."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.scaling.arrivals import Arrivals
from llmcloud.scaling.capacity import Capacity
from llmcloud.scaling.learned import LearnedPolicy, LearnedSettings
from llmcloud.scaling.observation import Bounds, Decision, Observation
from llmcloud.scaling.shadow import ShadowQueues
from tests.unit.scaling.seen import BOUNDS, seen

KNOWN = LearnedSettings(cold_start_seconds=100.0, zero_after_seconds=60.0)


class Steady:
    """A deployment at 1 Hz whose requests take 10 s, as its gateways would report it."""

    def __init__(self, policy: LearnedPolicy) -> None:
        self.policy = policy
        self.now = 0.0
        self.arrivals = self.completions = 0.0
        self.flown = 0.0

    def run(
        self,
        seconds: int,
        rate: float,
        replicas: int,
        *,
        ready: int | None = None,
        waiting: int = 0,
        pending: Sequence[float] | None = None,
    ) -> Decision:
        """Requests come and are completed at `rate`; the last decision."""
        flying = round(rate * 10)
        ready = replicas if ready is None else ready
        for _ in range(seconds):
            self.now += 1
            self.arrivals += rate
            self.completions += rate
            self.flown += flying
            decision = self.policy.judge(
                self.now,
                seen(
                    replicas,
                    loads=[flying // max(1, ready)] * ready,
                    waiting=waiting,
                    arrivals=round(self.arrivals),
                    completions=round(self.completions),
                    flight_seconds=self.flown,
                    request_seconds=self.flown,
                    pending_seconds=pending,
                ),
            )
        return decision


def test_the_service_time_is_that_of_littles_law() -> None:
    capacity = Capacity(120.0)
    capacity.learn(seen(), seen(completions=20, flight_seconds=200.0), 10.0)
    assert capacity.service_seconds == pytest.approx(10.0)


def test_before_completions_those_in_flight_count_as_if_about_to() -> None:
    capacity = Capacity(120.0)
    capacity.learn(seen(), seen(loads=[8], flight_seconds=16.0), 2.0)
    assert capacity.service_seconds == pytest.approx(2.0)


def test_the_cold_start_is_the_age_at_which_a_replica_became_ready() -> None:
    capacity = Capacity(120.0)
    pending = seen(2, ready=1, pending_seconds=[44.0])
    capacity.learn(pending, pending, 1.0)
    assert capacity.cold_start_seconds == 120.0
    capacity.learn(pending, seen(2), 1.0)
    assert capacity.cold_start_seconds == 45.0


def test_a_stuck_replica_is_not_counted_on() -> None:
    capacity = Capacity(100.0)
    now = seen(4, ready=1, pending_seconds=[250.0, 150.0, 30.0])
    capacity.learn(seen(2), seen(2), 1.0)
    assert capacity.etas(now) == [0.0, 70.0]


def test_a_rate_counts_for_six_times_as_long_as_it_was_seen() -> None:
    arrivals = Arrivals()
    for second in range(601):
        arrivals.add(float(second), 10 if second > 590 else 0)
    # 10/s for 10 s: over a horizon of 30 s the 5 s window holds all along:
    # (50 - 2.25 * sqrt(50)) / 5 = 6.8; the 15 s one too: (100 - 1.9 * 10) / 15 = 5.4.
    assert arrivals.rate(30.0) == pytest.approx(6.82, abs=0.01)
    # Over 300 s: 5 s count for 30 / 300 and 15 s for 90 / 300, the rest at 100 / 180 = 0.56:
    # 6.82 * 0.1 + 0.56 * 0.9 = 1.18; 5.4 * 0.3 + 0.56 * 0.7 = 2.01. (100 - 1.5 * 10) / 30 * 0.6
    # + 0.56 * 0.4 = 1.92.
    assert arrivals.rate(300.0) == pytest.approx(2.01, abs=0.01)


def test_shadows_know_which_count_would_have_held() -> None:
    shadows = ShadowQueues(Bounds(slots=32, min_replicas=1, max_replicas=4))
    # 64 at once, 10 s each: with one replica 32 of them wait 10 s; with two, none.
    shadows.pass_on(1.0, 1.0, 64, 10.0, 5.0, 1800.0)
    assert shadows.enough(1.0, 300.0, 1800.0) == 2
    assert shadows.enough(301.0, 300.0, 1800.0) == 2
    assert shadows.enough(302.0, 300.0, 1800.0) == 1


def test_what_came_back_is_expected_again() -> None:
    shadows = ShadowQueues(Bounds(slots=32, min_replicas=1, max_replicas=4))
    for second in range(1, 502):
        shadows.pass_on(float(second), 1.0, 64 if second in (1, 501) else 0, 10.0, 5.0, 1800.0)
    # One replica remembers what waits up to 7.5 s: 6.5 s at 2, 5.5 s at 3, then less than 5 s.
    # At 501, after 498 s, it came back: it is held for 1.2 * 498 = 597.6 s.
    assert shadows.enough(1098.0, 300.0, 1800.0) == 2
    assert shadows.enough(1099.0, 300.0, 1800.0) == 1


def test_without_samples_it_holds_and_says_so() -> None:
    decision = LearnedPolicy(BOUNDS).judge(1.0, None, current=3)
    assert decision == Decision(3, "no samples from the gateways: holding", holding=True)
    assert LearnedPolicy(BOUNDS).judge(1.0, None, current=99).replicas == 32


def test_one_that_has_just_begun_keeps_what_it_found_until_it_has_watched_the_load() -> None:
    steady = Steady(LearnedPolicy(BOUNDS, KNOWN))
    decision = steady.run(300, 2.0, 6)
    assert decision.replicas == 6
    assert decision.reason.startswith("the load has not been watched for long enough")
    assert steady.run(10, 2.0, 6).replicas == 1


def test_a_load_that_fits_stays() -> None:
    # 2 requests/s of 10 s: 20 of 32 slots.
    assert Steady(LearnedPolicy(BOUNDS, KNOWN)).run(600, 2.0, 1) == Decision(1, "the load fits")


def test_a_jump_is_one_jump() -> None:
    steady = Steady(LearnedPolicy(BOUNDS, KNOWN))
    steady.run(600, 2.0, 1)
    decision = steady.run(30, 16.0, 1, waiting=200)
    # 160 busy slots are 5 replicas. Less the error of 30 s, (480 - 1.5 * 22) / 30 = 14.9/s; one
    # replica serves 3.2/s, so 200 + 14.9 * 100 - 320 = 1370 wait after 100 s, and
    # (14.9 + 13.7) / 3.2 = 8.9 replicas serve them within 100 s more.
    assert decision.replicas == 9
    assert decision.reason.startswith("200 wait now and 13")


def test_replicas_that_are_coming_are_counted() -> None:
    steady = Steady(LearnedPolicy(BOUNDS, KNOWN))
    steady.run(600, 2.0, 1)
    steady.run(30, 16.0, 9, ready=1, waiting=200)
    assert steady.run(10, 16.0, 9, ready=1, waiting=300).replicas <= 10


def test_backlog_is_not_taken_for_load_once_it_is_gone() -> None:
    steady = Steady(LearnedPolicy(BOUNDS, KNOWN))
    steady.run(600, 2.0, 1)
    assert steady.run(60, 16.0, 1, waiting=900).replicas > 9
    assert steady.run(700, 16.0, 12).replicas == 6


def test_fewer_only_when_fewer_would_have_held_the_window() -> None:
    steady = Steady(LearnedPolicy(BOUNDS, KNOWN))
    steady.run(900, 16.0, 6)
    assert steady.run(200, 2.0, 6).replicas >= 5
    assert steady.run(200, 2.0, 6).replicas == 1


def test_who_sets_the_delay_gets_down_after_it() -> None:
    steady = Steady(LearnedPolicy(BOUNDS, LearnedSettings(hold_seconds=10, cold_start_seconds=5)))
    assert steady.run(900, 16.0, 6).replicas == 6
    assert steady.run(10, 2.0, 6).replicas >= 5
    # No rate looks back further than 30 s, and what a backlog asked for counts for 20 s more.
    assert steady.run(40, 2.0, 6).replicas == 1


def test_silence_drains_to_zero_and_one_request_wakes() -> None:
    policy = LearnedPolicy(Bounds(32, 0, 8), KNOWN)
    steady = Steady(policy)
    steady.run(100, 1.0, 1)
    assert steady.run(30, 0.0, 1).replicas == 1
    assert steady.run(31, 0.0, 1) == Decision(0, "no request for 60 s")
    assert steady.run(500, 0.0, 0) == Decision(0, "no request for 60 s")
    assert steady.run(1, 0.0, 0, waiting=1).replicas == 1


def test_never_above_the_most_and_it_says_so() -> None:
    steady = Steady(LearnedPolicy(Bounds(32, 1, 4), KNOWN))
    steady.run(60, 2.0, 1)
    decision = steady.run(60, 40.0, 1, waiting=2000)
    assert decision.replicas == 4
    assert decision.reason.endswith("at maxReplicas")


OBSERVATIONS = st.builds(
    seen,
    st.integers(0, 6),
    loads=st.lists(st.integers(0, 32), max_size=6),
    waiting=st.integers(0, 1000),
    arrivals=st.integers(0, 5000),
    completions=st.integers(0, 5000),
    flight_seconds=st.floats(0, 1e5),
    pending_seconds=st.lists(st.floats(0, 1e4), max_size=4),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    observations=st.lists(st.none() | OBSERVATIONS, min_size=1, max_size=20),
    low=st.integers(0, 3),
    high=st.integers(3, 9),
)
def test_whatever_it_sees_it_stays_within_bounds_and_explains(
    observations: list[Observation | None], low: int, high: int
) -> None:
    policy = LearnedPolicy(Bounds(32, low, high))
    for second, observation in enumerate(observations):
        decision = policy.judge(float(second), observation, current=5)
        assert low <= decision.replicas <= high
        assert decision.reason


def test_a_pending_replica_never_freezes_it() -> None:
    steady = Steady(LearnedPolicy(BOUNDS, KNOWN))
    steady.run(600, 2.0, 1)
    # Two replicas cannot be scheduled: they are not counted on, and more are asked for.
    stuck = [5000.0, 5000.0]
    assert steady.run(60, 16.0, 3, ready=1, waiting=300, pending=stuck).replicas > 5
    # Nor do they keep what is no longer needed.
    assert steady.run(1500, 1.0, 3, ready=1, pending=stuck).replicas == 1


def test_a_replica_that_was_stuck_is_no_measure_of_the_others() -> None:
    capacity = Capacity(100.0)
    pending = seen(2, ready=1, pending_seconds=[90_000.0])
    capacity.learn(pending, pending, 1.0)
    assert capacity.cold_start_seconds == 600.0
    capacity.learn(pending, seen(2), 1.0)
    assert capacity.cold_start_seconds == 3600.0
