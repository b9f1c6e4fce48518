"""Budgets are shared out without a token too many, and with few too few."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.accesskey import KeyLimits
from llmcloud.api.leases import (
    KeyLease,
    WindowSample,
    day_of,
    is_day,
    minute_of,
    window_seconds,
    window_start,
)
from llmcloud.plan.leases import MOST_LEASES, Demand, change_after_seconds, plan_leases

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
MINUTE, DAY = "2026-05-01T12:00Z", "2026-05-01"
NEXT = "2026-05-01T12:01Z"


def demand(
    gateway: str = "a", used: int = 0, wanted: int = 0, window: str = MINUTE, tokens: int = 0
) -> Demand:
    return Demand(
        gateway,
        WindowSample(
            window=window,
            requests=used,
            tokens=tokens,
            wanted_requests=wanted,
            wanted_tokens=wanted * 100,
        ),
    )


def requests(leases: list[KeyLease], window: str = MINUTE) -> dict[str, int]:
    return {lease.gateway: lease.requests for lease in leases if lease.window == window}


def lease(gateway: str, amount: int, window: str = MINUTE) -> KeyLease:
    return KeyLease(gateway=gateway, window=window, requests=amount)


PER_MINUTE = KeyLimits(requests_per_minute=160)


def test_windows_are_of_the_clock_in_utc() -> None:
    assert (minute_of(NOON), day_of(NOON)) == (MINUTE, DAY)
    assert (window_start(MINUTE), window_seconds(MINUTE)) == (NOON, 60)
    assert (window_start(DAY), window_seconds(DAY)) == (NOON - 43200, 86400)
    assert (is_day(DAY), is_day(MINUTE)) == (True, False)


@pytest.mark.parametrize(
    ("demands", "leased"),
    [
        pytest.param([], {}, id="nothing for nobody"),
        pytest.param([demand(used=0, wanted=1)], {"a": 11}, id="what waits and a sixteenth"),
        pytest.param([demand(used=40)], {"a": 80}, id="as much again as is spent"),
        pytest.param([demand(used=100, wanted=60)], {"a": 160}, id="all that is left"),
        pytest.param([demand(used=100, wanted=600)], {"a": 160}, id="and not more"),
        pytest.param(
            [demand("a", wanted=500), demand("b", wanted=500)], {"a": 80, "b": 80},
            id="what is scarce evenly",
        ),
        pytest.param(
            [demand("a", wanted=500), demand("b", wanted=10)], {"a": 150, "b": 10},
            id="but who wants little is satisfied",
        ),
        pytest.param(
            [demand("a", used=60), demand("b", used=60)], {"a": 70, "b": 70},
            id="near the end no more than a quarter of the rest ahead of need",
        ),
        pytest.param([demand(used=9, window="2026-05-01T12:30Z")], {}, id="not for a wrong clock"),
        pytest.param([demand(used=9, window="soon")], {}, id="not for no window"),
    ],
)  # fmt: skip
def test_who_gets_how_much_of_a_minute(demands: list[Demand], leased: dict[str, int]) -> None:
    assert requests(plan_leases(PER_MINUTE, [], demands, NOON + 1)) == leased


def test_what_was_leased_is_neither_taken_back_nor_given_twice() -> None:
    leases = plan_leases(PER_MINUTE, [lease("gone", 100)], [demand(wanted=500)], NOON)
    assert requests(leases) == {"gone": 100, "a": 60}


def test_leases_end_with_their_windows() -> None:
    old = [lease("a", 5, "2026-05-01T11:57Z"), lease("a", 7, "2026-05-01T11:59Z")]
    assert plan_leases(PER_MINUTE, old, [], NOON) == old[1:]
    assert change_after_seconds(old[1:], NOON) == 90


def test_gateways_in_use_get_a_start_in_the_next_window() -> None:
    demands = [demand("a", used=40), demand("b", used=2)]
    assert requests(plan_leases(PER_MINUTE, [], demands, NOON + 40), NEXT) == {}
    leases = plan_leases(PER_MINUTE, [], demands, NOON + 50)
    assert requests(leases, NEXT) == {"a": 20, "b": 5}
    assert plan_leases(PER_MINUTE, leases, demands, NOON + 55) == leases


def test_a_days_tokens_are_leased_by_what_a_minute_takes() -> None:
    limits = KeyLimits(tokens_per_day=1_000_000)
    minute = demand(window=MINUTE, tokens=30_000)
    day = demand(window=DAY, tokens=200_000, wanted=1)
    (leased,) = plan_leases(limits, [], [minute, day], NOON)
    assert leased.tokens == 200_000 + 100 + 30_000


def test_leases_of_the_silent_are_added_up_once_they_are_many() -> None:
    silent = [lease(f"g{n}", 1, DAY) for n in range(MOST_LEASES + 5)]
    limits = KeyLimits(tokens_per_day=1000)
    given = [KeyLease(gateway=s.gateway, window=DAY, tokens=2) for s in silent]
    leases = plan_leases(limits, given, [demand("g3", window=DAY, tokens=2)], NOON)
    assert {leased.gateway for leased in leases} == {"", "g3"}
    assert sum(leased.tokens for leased in leases if not leased.gateway) == 2 * (len(given) - 1)


class Gateways:
    """Gateways that spend what is leased to them, and the leader's book."""

    def __init__(self, names: int) -> None:
        self.spent = {f"g{n}": 0 for n in range(names)}
        self.leases: list[KeyLease] = []

    def round(self, wanted: dict[str, int], limit: int, heard: set[str]) -> None:
        demands = [demand(g, self.spent[g], wanted.get(g, 0)) for g in sorted(heard)]
        limits = KeyLimits(requests_per_minute=limit)
        self.leases = plan_leases(limits, self.leases, demands, NOON)
        granted = requests(self.leases)
        for gateway, more in wanted.items():
            self.spent[gateway] += min(more, granted.get(gateway, 0) - self.spent[gateway])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(1, 5),
    st.integers(1, 1000),
    st.lists(st.lists(st.integers(0, 400), min_size=5, max_size=5), max_size=12),
    st.integers(0, 31),
)
def test_no_history_overspends_and_who_keeps_asking_gets_most(
    number: int, limit: int, rounds: list[list[int]], deaf: int
) -> None:
    gateways = Gateways(number)
    names = list(gateways.spent)
    for turn, amounts in enumerate(rounds):
        heard = {g for n, g in enumerate(names) if not (turn % 2 and deaf >> n & 1)}
        gateways.round(dict(zip(names, amounts, strict=False)), limit, heard)
        assert sum(gateways.spent.values()) <= limit
        assert sum(requests(gateways.leases).values()) <= limit
    idle = dict(requests(gateways.leases))
    stranded = sum(idle.get(g, 0) - gateways.spent[g] for g in names[1:])
    gateways.round({names[0]: 5000}, limit, {names[0]})
    assert sum(gateways.spent.values()) == limit - stranded
