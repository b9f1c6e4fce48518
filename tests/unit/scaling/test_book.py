"""The gateways' samples, summed; policies that judge them; deployments that should change."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.contract import GatewaySamples, GroupSample, RouteSample
from llmcloud.scaling.book import STALE_SECONDS, Replicas, ScalingBook, Terms
from llmcloud.scaling.observation import Bounds, Decision

KEY = ("ns", "a")
TERMS = Terms(Bounds(4, 0, 8), 60.0, 30.0, "gpt on cpu")
NONE = Replicas(0, (), ())


def sample(**counts: Any) -> GatewaySamples:
    silent: dict[str, Any] = {
        "namespace": "ns", "name": "a", "in_flight": 0, "waiting": 0, "idle_seconds": 0.0,
        "arrivals": 0, "completions": 0, "flight_seconds": 0.0, "loads": {},
    }  # fmt: skip
    return GatewaySamples(samples=[RouteSample(**(silent | counts))])


def replicas(asked: int, ready: int | None = None) -> Replicas:
    """`asked` replicas, of which the last ones are pending since 0."""
    many = asked if ready is None else ready
    return Replicas(asked, tuple(f"10.0.0.{n}:8000" for n in range(many)), (0.0,) * (asked - many))


class Clock:
    """A book and one gateway that is asked every second."""

    def __init__(self, found: Replicas = NONE, terms: Terms = TERMS) -> None:
        self.book = ScalingBook()
        self.now = 0.0
        self.used: Decision | None = None
        self.watch(found, terms)

    def watch(self, found: Replicas, terms: Terms = TERMS) -> None:
        self.used = self.book.decision(KEY)
        self.book.watch(self.now, KEY, terms, found, self.used)

    def round(self, **gateways: GatewaySamples | None) -> list[tuple[str, str]]:
        self.now += 1
        self.book.record(self.now, gateways)
        return self.book.judge(self.now)

    def decided(self) -> Decision:
        decision = self.book.decision(KEY)
        assert decision is not None
        return decision


def test_a_request_that_waits_wakes_the_deployment_until_it_has_a_replica() -> None:
    clock = Clock()
    assert clock.round(g=sample()) == []
    assert clock.round(g=sample(waiting=1, arrivals=1)) == [KEY]
    clock.watch(replicas(1, ready=0))
    assert clock.round(g=sample(waiting=1, arrivals=1)) == []


def test_gateways_are_summed() -> None:
    clock = Clock()
    loads = {"10.0.0.1:8000": 3}
    clock.round(g=sample(in_flight=3, loads=loads), h=sample(in_flight=2, waiting=4, loads=loads))
    assert clock.book.loads(KEY) == {"10.0.0.1:8000": 6}
    (traffic,) = clock.book._traffic.values()
    assert (traffic.in_flight, traffic.waiting) == (5, 4)


def counted(window: str, **groups: int) -> GatewaySamples:
    tried = [
        GroupSample(name=n, requests=r, errors=1, refusals=2, streams=r, log_seconds=0.5)
        for n, r in groups.items()
    ]
    return sample(window=window, groups=tried)


def test_what_gateways_count_of_a_canary_is_summed_within_its_window() -> None:
    clock = Clock()
    assert clock.book.groups(clock.now, KEY, "2") is None
    clock.round(g=counted("2", old=30, new=3), h=counted("2", old=5), i=counted("1", new=90))
    groups = clock.book.groups(clock.now, KEY, "2")
    assert groups == {
        "old": GroupSample(
            name="old", requests=35, errors=2, refusals=4, streams=35, log_seconds=1.0
        ),
        "new": GroupSample(
            name="new", requests=3, errors=1, refusals=2, streams=3, log_seconds=0.5
        ),
    }
    clock.round(g=counted("2", new=4))
    assert clock.book.groups(clock.now, KEY, "2") == {
        "new": GroupSample(name="new", requests=4, errors=1, refusals=2, streams=4, log_seconds=0.5)
    }
    assert clock.book.groups(clock.now + STALE_SECONDS + 1, KEY, "2") is None


def busy(second: int, rate: float = 1.0, since: int = 0) -> GatewaySamples:
    """Requests of 10 s each, all served by one replica."""
    done = round(rate * (second - since))
    return sample(
        in_flight=round(10 * rate), arrivals=done, completions=done,
        flight_seconds=10.0 * done, loads={"10.0.0.0:8000": round(10 * rate)},
    )  # fmt: skip


@pytest.mark.parametrize(
    "roll",
    [
        pytest.param(lambda n: {"new": busy(n, since=100)}, id="one takes the other's place"),
        pytest.param(lambda n: {"g": busy(n, since=100)}, id="one starts anew and counts from 0"),
        pytest.param(lambda n: {"g": busy(n), "new": busy(10_000)}, id="one is found late"),
    ],
)
def test_gateways_that_come_and_go_are_no_load(roll: Any) -> None:
    clock = Clock(replicas(4), Terms(Bounds(4, 1, 8), 60.0, 900.0, "m"))
    for second in range(1, 101):
        clock.round(g=busy(second))
    settled = clock.decided().replicas
    for second in range(101, 131):
        clock.round(**roll(second))
        assert clock.decided().replicas <= settled + 1


def test_a_gateway_that_does_not_answer_voids_the_round() -> None:
    clock = Clock()
    clock.round(g=sample(waiting=9), h=None)
    assert clock.book.decision(KEY) is None


def test_without_samples_the_number_is_held_and_said_once() -> None:
    clock = Clock(replicas(3))
    told = [clock.round(g=None) for _ in range(int(STALE_SECONDS) + 1)]
    assert told == [[]] * int(STALE_SECONDS) + [[KEY]]
    assert clock.decided() == Decision(3, "no samples from the gateways: holding", holding=True)
    clock.watch(replicas(3))
    assert clock.round(g=None) == []
    assert clock.round(g=sample(in_flight=1)) == [KEY]
    assert not clock.decided().holding


def test_no_gateways_are_not_zero_load() -> None:
    clock = Clock(replicas(3))
    for _ in range(60):
        clock.round()
    assert clock.decided().replicas == 3


def test_a_deployment_that_no_gateway_knows_is_held() -> None:
    clock = Clock(replicas(3))
    for _ in range(60):
        clock.round(g=GatewaySamples(samples=[]))
    assert clock.decided().holding


def test_silence_drains_to_zero_also_when_this_process_has_just_begun() -> None:
    clock = Clock(replicas(2))
    clock.round(g=sample(idle_seconds=29.0))
    assert clock.decided().replicas == 2
    clock.round(g=sample(idle_seconds=30.0))
    assert clock.decided() == Decision(0, "no request for 30 s")


def test_requests_too_short_to_be_sampled_are_no_silence() -> None:
    clock = Clock(replicas(1))
    for second in range(100):
        clock.round(g=sample(arrivals=second // 10, completions=second // 10))
    assert clock.decided().replicas == 1


def test_other_terms_begin_a_new_policy_which_gives_up_nothing_at_first() -> None:
    clock = Clock(replicas(1))
    for second in range(1, 200):
        clock.round(g=busy(second, 0.1))
    clock.watch(replicas(3), Terms(TERMS.bounds, 60.0, 30.0, "gpt on gpu"))
    for second in range(200, 260):
        clock.round(g=busy(second, 0.1))
        assert clock.decided().replicas == 3
    clock.round(g=busy(260, 0.1))
    clock.round(g=busy(261, 0.1))
    assert clock.decided().replicas == 1


def test_what_is_forgotten_is_judged_no_longer() -> None:
    clock = Clock()
    clock.book.forget(KEY)
    assert clock.round(g=sample(waiting=9)) == []
    assert clock.book.decision(KEY) is None
    assert list(clock.book.explain()) == []


COUNTS = st.builds(
    lambda a, c, f, w, i: sample(
        arrivals=a, completions=c, flight_seconds=f, waiting=w, in_flight=i
    ),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.floats(0, 1e9),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
ROUNDS = st.lists(
    st.dictionaries(st.sampled_from("ghi"), st.none() | COUNTS, max_size=3), max_size=25
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ROUNDS, st.integers(0, 3), st.integers(3, 9), st.integers(0, 20))
def test_whatever_gateways_say_the_bounds_hold_and_every_decision_is_explained(
    rounds: list[dict[str, GatewaySamples | None]], low: int, high: int, asked: int
) -> None:
    clock = Clock(replicas(asked, ready=0), Terms(Bounds(4, low, high), None, 30.0, "m"))
    for gateways in rounds:
        clock.round(**gateways)
        decision = clock.book.decision(KEY)
        if decision is not None:
            assert low <= decision.replicas <= high
            assert decision.reason
