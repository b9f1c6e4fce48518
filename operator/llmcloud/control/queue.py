"""Keys that wait to be looked at: each at most once, never two workers on one key.

A wake during a reconcile is kept and runs it again afterwards. Failures back off with jitter;
a wake by a hint does not wait for the backoff of a failure to end, but never runs more often
than once in `DEBOUNCE_SECONDS`.
"""

import asyncio
import heapq
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import Final

DEBOUNCE_SECONDS: Final = 0.05
BACKOFF_SECONDS: Final = 0.5
BACKOFF_MOST_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Key:
    """What is to be reconciled; `kind` is a custom resource's or the routes'."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Turn:
    """When a key is looked at: not before `due`, and of those that are due, the one with the
    earliest `deadline` first. Both in seconds of `time.monotonic`."""

    due: float
    deadline: float

    def sooner(self, other: "Turn | None") -> "Turn":
        """The earlier of both, in each."""
        if other is None:
            return self
        return Turn(min(self.due, other.due), min(self.deadline, other.deadline))


@dataclass
class WorkQueue:
    """Turns by key. A turn that was replaced stays in its heap until it is found there."""

    _turns: dict[Key, Turn] = field(default_factory=dict)
    _waiting: list[tuple[float, int, Key, Turn]] = field(default_factory=list)
    _ready: list[tuple[float, int, Key, Turn]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _running: dict[Key, float] = field(default_factory=dict)
    _again: dict[Key, Turn] = field(default_factory=dict)
    _causes: dict[Key, set[str]] = field(default_factory=dict)
    _failures: dict[Key, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(
        self,
        key: Key,
        after_seconds: float = DEBOUNCE_SECONDS,
        cause: str = "",
        patience_seconds: float = 0.0,
    ) -> None:
        """Have `key` looked at after `after_seconds`, or earlier if it is due earlier.

        When more is due than can be looked at, keys that were due up to `patience_seconds` later
        come first. `cause` is for `take_back`: a wake without one stays.
        """
        due = time.monotonic() + after_seconds
        turn = Turn(due, due + patience_seconds)
        if key in self._running:
            self._again[key] = turn.sooner(self._again.get(key))
            self._causes.setdefault(key, set()).add(cause)
            return
        self._set(key, turn)

    def _set(self, key: Key, turn: Turn) -> None:
        before = self._turns.get(key)
        turn = turn.sooner(before)
        if turn != before:
            self._turns[key] = turn
            heapq.heappush(self._waiting, (turn.due, next(self._order), key, turn))
            self._changed.set()

    def take_back(self, key: Key, cause: str) -> None:
        """Take a wake back that came while `key` is looked at, unless it had other causes too."""
        causes = self._causes.get(key, set())
        causes.discard(cause)
        if key in self._again and not causes:
            del self._again[key], self._causes[key]

    async def take(self) -> Key:
        """The next key that is due; the caller must call `done`."""
        while True:
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, order, key, turn = heapq.heappop(self._waiting)
                heapq.heappush(self._ready, (turn.deadline, order, key, turn))
            while self._ready:
                _, _, key, turn = heapq.heappop(self._ready)
                if self._turns.get(key) != turn:
                    continue
                del self._turns[key]
                self._running[key] = now
                if self._ready or self._waiting:
                    self._changed.set()
                return key
            self._changed.clear()
            wait = self._waiting[0][0] - now if self._waiting else None
            try:
                await asyncio.wait_for(self._changed.wait(), wait)
            except TimeoutError:
                continue

    def done(self, key: Key, again_seconds: float | None = None, *, failed: bool = False) -> None:
        """Give `key` back; look again after `again_seconds`, or after a backoff if it failed."""
        del self._running[key]
        again = self._again.pop(key, None)
        self._causes.pop(key, None)
        if failed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(BACKOFF_SECONDS * 2.0 ** min(failures, 16), BACKOFF_MOST_SECONDS)
            self.wake(key, delay * random.uniform(0.5, 1.0))
            if again is not None:
                self.wake(key, max(again.due - time.monotonic(), BACKOFF_SECONDS))
            return
        self._failures.pop(key, None)
        if again_seconds is not None:
            self.wake(key, again_seconds)
        if again is not None:
            self._set(key, again)

    @property
    def depth(self) -> int:
        """Keys that wait, including those due later."""
        return len(self._turns)

    def oldest_running_seconds(self) -> float:
        """Age of the longest reconcile under way; 0 without one."""
        now = time.monotonic()
        return max((now - started for started in self._running.values()), default=0.0)
