"""What a key may still spend on this gateway: reserved at admission, settled at the end.

A request reserves the most tokens that it can cost. It is let in if that fits into what is leased
to this gateway (`llmcloud.api.leases`). If it may fit soon, because more can be leased or others'
reservations come back, it waits a little, in order; if it cannot fit in this window, it is refused.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llmcloud.api.accesskey import KeyLimits
from llmcloud.api.leases import (
    DAY_SECONDS,
    MINUTE_SECONDS,
    KeyLease,
    KeySample,
    WindowSample,
    day_of,
    minute_of,
)
from llmcloud_gateway.errors import GatewayError

WallClock = Callable[[], float]
_TICK_SECONDS = 0.25


class Window:
    """What this gateway has spent of one minute or day."""

    __slots__ = ("name", "requests", "reserved", "tokens")

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = 0
        self.tokens = 0
        self.reserved = 0


class Reservation(NamedTuple):
    """The tokens that a request may cost, in the windows in which it was let in."""

    tokens: int
    minute: Window
    day: Window


class _Shortage(NamedTuple):
    """Why a request is not let in now. `hopeless`: nor later in this window."""

    what: str
    limit: int
    ends_in_seconds: int
    hopeless: bool
    unleased: bool


class _Waiter(NamedTuple):
    future: asyncio.Future[Reservation]
    tokens: int


class Budget:
    """The budgets of one key. It outlives versions of its LLMAccessKey."""

    def __init__(
        self, gateway: str, clock: WallClock, wait_seconds: float, most_waiting: int
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._most_waiting = most_waiting
        self._limits = KeyLimits()
        self._leases: dict[str, tuple[KeyLease | None, int, int]] | None = None
        self._minute = Window("")
        self._day = Window("")
        self._ends = 0.0
        self._waiting: deque[_Waiter] = deque()
        self._ticking = False
        self.requests = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.last_used = 0.0

    @property
    def limits(self) -> KeyLimits:
        return self._limits

    @property
    def was_used(self) -> bool:
        """Whether there is anything to tell of it."""
        return bool(self.requests or self._waiting)

    @property
    def counts_tokens(self) -> bool:
        """Whether a request has to say how many tokens it may cost."""
        limits = self._limits
        return limits.tokens_per_minute is not None or limits.tokens_per_day is not None

    def update(self, limits: KeyLimits, leases: Sequence[KeyLease] | None) -> None:
        """A new version of the key. `leases` None: this gateway has the budgets for itself."""
        self._limits = limits
        self._leases = None if leases is None else {}
        for lease in leases or ():
            assert self._leases is not None
            mine, requests, tokens = self._leases.get(lease.window, (None, 0, 0))
            if lease.gateway == self._gateway:
                mine = lease
            else:
                requests, tokens = requests + lease.requests, tokens + lease.tokens
            self._leases[lease.window] = (mine, requests, tokens)
        self._serve_waiting()

    # Admission

    async def admit(self, tokens: int) -> Reservation:
        """Lets a request of at most `tokens` in. GatewayError 429, 503, or 400 if it never fits."""
        if not self._waiting:
            shortage = self._shortage(tokens)
            if shortage is None:
                return self._reserve(tokens)
            if shortage.hopeless:
                raise _refusal(shortage, tokens)
        if len(self._waiting) >= self._most_waiting:
            raise GatewayError(
                429, "TooManyWaiting", "Too many requests of this key wait already.",
                code="rate_limit_exceeded", retry_after_seconds=1,
            )  # fmt: skip
        waiter = _Waiter(asyncio.get_running_loop().create_future(), tokens)
        self._waiting.append(waiter)
        self._tick_later()
        reservation = None
        try:
            async with asyncio.timeout(self._wait_seconds):
                reservation = await waiter.future
        except TimeoutError:
            shortage = self._shortage(tokens)
            raise _refusal(shortage or _BEHIND_OTHERS, tokens) from None
        finally:
            if reservation is None:
                self._leave(waiter)
        return reservation

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
            self._serve_waiting()
        elif not waiter.future.cancelled() and waiter.future.exception() is None:
            self.settle(waiter.future.result(), 0)

    def _reserve(self, tokens: int) -> Reservation:
        minute, day = self._windows()
        minute.requests += 1
        minute.reserved += tokens
        day.reserved += tokens
        self.requests += 1
        self.last_used = self._clock()
        return Reservation(tokens, minute, day)

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """The request is over and has cost `tokens`, in the windows in which it was let in."""
        for window in (reservation.minute, reservation.day):
            window.reserved -= reservation.tokens
            window.tokens += tokens
        self._serve_waiting()

    def count(self, input_tokens: int, output_tokens: int) -> None:
        """Adds to the usage; settling is another matter."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def _windows(self) -> tuple[Window, Window]:
        now = self._clock()
        if now >= self._ends or now < self._ends - MINUTE_SECONDS:
            self._ends = (now // MINUTE_SECONDS + 1) * MINUTE_SECONDS
            self._minute = Window(minute_of(now))
            if day_of(now) != self._day.name:
                self._day = Window(day_of(now))
        return self._minute, self._day

    def _shortage(self, tokens: int) -> _Shortage | None:
        limits = self._limits
        minute, day = self._windows()
        left = math.ceil(self._ends - self._clock())
        until_tomorrow = DAY_SECONDS - int(self._clock()) % DAY_SECONDS
        found = [
            shortage
            for limit, window, what, need, seconds in (
                (limits.requests_per_minute, minute, "requestsPerMinute", None, left),
                (limits.tokens_per_minute, minute, "tokensPerMinute", tokens, left),
                (limits.tokens_per_day, day, "tokensPerDay", tokens, until_tomorrow),
            )
            if limit is not None
            and (shortage := self._lacks(limit, window, what, need, seconds)) is not None
        ]
        return max(found, key=lambda lack: (lack.hopeless, lack.ends_in_seconds), default=None)

    def _lacks(
        self, limit: int, window: Window, what: str, tokens: int | None, seconds: int
    ) -> _Shortage | None:
        """`tokens` None: it is about requests."""
        lease, others_requests, others_tokens = None, 0, 0
        if self._leases is not None:
            lease, others_requests, others_tokens = self._leases.get(window.name, (None, 0, 0))
        if tokens is None:
            spent, reserved, need = window.requests, 0, 1
            mine, others = lease.requests if lease else 0, others_requests
        else:
            spent, reserved, need = window.tokens, window.reserved, tokens
            mine, others = lease.tokens if lease else 0, others_tokens
        if self._leases is None:
            mine = limit
        if mine + others > limit:  # the limit was lowered: all shrink alike
            mine = mine * limit // (mine + others)
            others = limit - mine
        if spent + reserved + need <= mine:
            return None
        return _Shortage(
            what,
            limit,
            seconds,
            hopeless=spent + need > limit - others,
            unleased=spent + reserved + need <= limit - others,
        )

    # Those who wait

    def _serve_waiting(self) -> None:
        while self._waiting:
            waiter = self._waiting[0]
            shortage = self._shortage(waiter.tokens)
            if shortage is not None and not shortage.hopeless:
                return
            self._waiting.popleft()
            if shortage is None:
                waiter.future.set_result(self._reserve(waiter.tokens))
            else:
                waiter.future.set_exception(_refusal(shortage, waiter.tokens))

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        """Windows end without an event."""
        self._ticking = False
        self._serve_waiting()
        if self._waiting:
            self._tick_later()

    # What the operator is told

    def sample(self, namespace: str, name: str) -> KeySample:
        minute, day = self._windows()
        wanted = sum(waiter.tokens for waiter in self._waiting)
        windows = [
            WindowSample(
                window=window.name,
                requests=window.requests,
                tokens=window.tokens + window.reserved,
                wanted_requests=len(self._waiting),
                wanted_tokens=wanted,
            )
            for window, limited in (
                (minute, self._limits.requests_per_minute or self._limits.tokens_per_minute),
                (day, self._limits.tokens_per_day),
            )
            if limited and (self._waiting or window.requests or window.tokens or window.reserved)
        ]
        return KeySample(
            namespace=namespace,
            name=name,
            requests=self.requests,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            last_used=int(self.last_used),
            windows=windows,
        )


_BEHIND_OTHERS = _Shortage("", 0, 1, hopeless=False, unleased=False)


def _refusal(shortage: _Shortage, tokens: int) -> GatewayError:
    what, limit = shortage.what, shortage.limit
    if what.startswith("tokens") and tokens > limit:
        return GatewayError(
            400,
            "RequestExceedsBudget",
            f"The request may cost {tokens} tokens, more than the key's limits.{what} of {limit}. "
            "Send a shorter prompt or a smaller max_tokens.",
            code="rate_limit_exceeded",
        )
    if shortage.hopeless:
        return GatewayError(
            429,
            "BudgetSpent",
            f"The key's limits.{what} of {limit} is spent. Try again in "
            f"{shortage.ends_in_seconds} s.",
            code="rate_limit_exceeded",
            retry_after_seconds=shortage.ends_in_seconds,
        )
    if shortage.unleased:
        return GatewayError(
            503,
            "BudgetNotLeased",
            f"The operator has not leased this gateway enough of the key's limits.{what}. Try "
            "again.",
            retry_after_seconds=1,
        )
    return GatewayError(
        429,
        "BudgetReserved",
        "The rest of the key's budget is reserved by requests in flight. Try again.",
        code="rate_limit_exceeded",
        retry_after_seconds=1,
    )
