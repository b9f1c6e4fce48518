"""How much of a key's budgets each gateway may spend: pure arithmetic over leases and samples.

What has been leased for a window is never given twice and never taken back: a gateway that is
gone keeps its lease until the window is over, so a budget can be underspent and not overspent.
To strand little, a gateway gets what it asks for plus about as much as it has spent already, and
what is left is shared while several ask.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from llmcloud.api.accesskey import KeyLimits
from llmcloud.api.leases import (
    KeyLease,
    KeySample,
    WindowSample,
    day_of,
    is_day,
    minute_of,
    window_seconds,
    window_start,
)

SKEW_SECONDS: Final = 90
"""How far a gateway's clock may be off. Windows further away get no lease."""
AHEAD_SECONDS: Final = 15
"""How long before its end the lease of the next window is given to gateways in use."""
MOST_LEASES: Final = 64
"""Leases of silent gateways are merged beyond this number."""
_MINUTE_PARTS: Final = 16
_DAY_PARTS: Final = 64

Resource = Literal["requests", "tokens"]
Book = dict[tuple[str, str], dict[Resource, int]]
"""Leased amounts by (gateway, window)."""
_NOTHING: Final[dict[Resource, int]] = {"requests": 0, "tokens": 0}


@dataclass(frozen=True)
class Demand:
    """One gateway's sample of one window."""

    gateway: str
    sample: WindowSample


def demands_of(samples: Mapping[str, KeySample]) -> tuple[Demand, ...]:
    """The demands of a key, by gateway."""
    return tuple(
        Demand(gateway, window)
        for gateway, sample in sorted(samples.items())
        for window in sample.windows
    )


def plan_leases(
    limits: KeyLimits, leases: Iterable[KeyLease], demands: Sequence[Demand], now: float
) -> list[KeyLease]:
    """The leases that should be. `now`: Unix seconds."""
    book: Book = {
        (lease.gateway, lease.window): {"requests": lease.requests, "tokens": lease.tokens}
        for lease in leases
        if _is_near(lease.window, now)
    }
    current = [d for d in demands if _is_near(d.sample.window, now)]
    for window in sorted({demand.sample.window for demand in current}):
        of_window = [d for d in current if d.sample.window == window]
        for resource, limit in _limits(limits, window).items():
            _share(book, window, resource, limit, of_window, current)
            ends = window_start(window) + window_seconds(window)
            if 0 <= ends - now <= AHEAD_SECONDS:
                _share_ahead(book, _window_at(window, ends), resource, limit, of_window)
    _merge_silent(book, {demand.gateway for demand in demands})
    return [
        KeyLease(gateway=gateway, window=window, **amounts)
        for (gateway, window), amounts in sorted(book.items(), key=lambda item: item[0][::-1])
        if any(amounts.values())
    ]


def change_after_seconds(leases: Iterable[KeyLease], now: float) -> float | None:
    """When time alone may change the leases that should be."""
    moments = []
    for window in {lease.window for lease in leases}:
        ends = window_start(window) + window_seconds(window)
        moments += [ends - AHEAD_SECONDS - now, ends - now, ends + SKEW_SECONDS - now]
    later = [seconds for seconds in moments if seconds > 0]
    return min(later, default=None)


def _limits(limits: KeyLimits, window: str) -> dict[Resource, int]:
    found: dict[Resource, int | None] = (
        {"tokens": limits.tokens_per_day}
        if is_day(window)
        else {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
    )
    return {resource: limit for resource, limit in found.items() if limit is not None}


def _share(
    book: Book,
    window: str,
    resource: Resource,
    limit: int,
    demands: list[Demand],
    all_demands: list[Demand],
) -> None:
    """First what requests wait for, then headroom; what is scarce is shared evenly."""
    needs = {d.gateway: sum(_amounts(d, resource)) for d in demands}
    silent = sum(
        amounts[resource]
        for (gateway, w), amounts in book.items()
        if w == window and gateway not in needs
    )
    most = max(0, limit - silent - sum(needs.values())) // (2 * len(demands))
    granted = {gateway: book.get((gateway, window), _NOTHING)[resource] for gateway in needs}
    shortages = {gateway: need - granted[gateway] for gateway, need in needs.items()}
    headrooms = {}
    for demand in demands:
        need = needs[demand.gateway]
        headroom = min(most, _headroom(demand, window, resource, limit, len(demands), all_demands))
        if granted[demand.gateway] < need + (headroom + 1) // 2:
            headrooms[demand.gateway] = need + headroom - max(need, granted[demand.gateway])
    for wanted in (shortages, headrooms):
        for gateway, amount in _fill(wanted, limit - _leased(book, window, resource)).items():
            _grant(book, gateway, window, resource, amount)


def _headroom(
    demand: Demand,
    window: str,
    resource: Resource,
    limit: int,
    gateways: int,
    demands: list[Demand],
) -> int:
    """What is leased ahead of need: as much again in a minute, the last minute's in a day."""
    if not is_day(window):
        return max(_amounts(demand, resource)[0], limit // (_MINUTE_PARTS * gateways))
    minutes = [
        d.sample.tokens
        for d in demands
        if d.gateway == demand.gateway and not is_day(d.sample.window)
    ]
    return max(limit // (_DAY_PARTS * gateways), *minutes, 0)


def _share_ahead(
    book: Book, window: str, resource: Resource, limit: int, demands: list[Demand]
) -> None:
    """A start in the next window, for gateways that have none: half of what they use now."""
    parts = _DAY_PARTS if is_day(window) else _MINUTE_PARTS
    starts = {}
    for demand in demands:
        used, _ = _amounts(demand, resource)
        if used and not book.get((demand.gateway, window), _NOTHING)[resource]:
            least = limit // (parts * len(demands))
            starts[demand.gateway] = min(max(least, used // 2), limit // (2 * len(demands)))
    for gateway, amount in _fill(starts, limit - _leased(book, window, resource)).items():
        _grant(book, gateway, window, resource, amount)


def _fill(wanted: Mapping[str, int], left: int) -> dict[str, int]:
    """Amounts of at most `wanted` and `left` altogether; who wants least is satisfied first."""
    filled: dict[str, int] = {}
    ordered = sorted((amount, gateway) for gateway, amount in wanted.items() if amount > 0)
    for number, (amount, gateway) in enumerate(ordered):
        share = min(amount, max(0, left) // (len(ordered) - number))
        filled[gateway] = share
        left -= share
    return filled


def _amounts(demand: Demand, resource: Resource) -> tuple[int, int]:
    sample = demand.sample
    if resource == "requests":
        return sample.requests, sample.wanted_requests
    return sample.tokens, sample.wanted_tokens


def _leased(book: Book, window: str, resource: Resource) -> int:
    return sum(amounts[resource] for (_, w), amounts in book.items() if w == window)


def _grant(book: Book, gateway: str, window: str, resource: Resource, amount: int) -> None:
    book.setdefault((gateway, window), dict(_NOTHING))[resource] += amount


def _is_near(window: str, now: float) -> bool:
    try:
        start = window_start(window)
    except ValueError:
        return False
    return start - SKEW_SECONDS <= now < start + window_seconds(window) + SKEW_SECONDS


def _window_at(like: str, moment: float) -> str:
    return day_of(moment) if is_day(like) else minute_of(moment)


def _merge_silent(book: Book, heard: set[str]) -> None:
    """Add up leases of gateways that say nothing, once they are many.

    One that speaks again has no lease left and gets a new one: that is safe.
    """
    if len(book) <= MOST_LEASES:
        return
    for gateway, window in [key for key in book if key[0] not in heard and key[0]]:
        for resource, amount in book.pop((gateway, window)).items():
            _grant(book, "", window, resource, amount)
