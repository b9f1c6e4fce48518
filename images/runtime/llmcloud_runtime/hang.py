"""Notices that training makes no step any more, and says what every thread was doing.

A step is late when it takes many times as long as steps take. The process cannot be asked: it may
wait in a collective or in a driver; so a thread decides, and what it calls ends the process.
"""

import faulthandler
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

FACTOR = 20
LEAST_SECONDS = 120.0
"""Shorter pauses are other things: a checkpoint's copy, a slow store, a busy node."""
UNKNOWN_SECONDS = 1800.0
"""While too few steps were seen: the first may compile, or wait for data."""
FEWEST_STEPS = 5
REMEMBERED_STEPS = 100


def limit_seconds(steps_seconds: Sequence[float], least_seconds: float = LEAST_SECONDS) -> float:
    """How long a step may take after those that were seen."""
    if len(steps_seconds) < FEWEST_STEPS:
        return max(UNKNOWN_SECONDS, least_seconds)
    return max(FACTOR * statistics.median(steps_seconds), least_seconds)


def stacks() -> str:
    """The stack of every thread."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read().decode(errors="replace")


class HangWatch:
    """While entered, calls `hung` with the seconds waited, once, in a thread of its own."""

    def __init__(
        self,
        hung: Callable[[float], None],
        *,
        least_seconds: float = LEAST_SECONDS,
        look_seconds: float = 5.0,
    ) -> None:
        self._hung = hung
        self._least_seconds = least_seconds
        self._look_seconds = look_seconds
        self._steps: deque[float] = deque(maxlen=REMEMBERED_STEPS)
        self._last = time.monotonic()
        self._paused = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang", daemon=True)

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def step(self) -> None:
        """A step was made."""
        now = time.monotonic()
        self._steps.append(now - self._last)
        self._last = now

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is waited for meanwhile is no step, and has limits of its own."""
        self._paused = True
        try:
            yield
        finally:
            self._last = time.monotonic()
            self._paused = False

    def _watch(self) -> None:
        while not self._over.wait(self._look_seconds):
            if self._paused:
                continue
            waited_seconds = time.monotonic() - self._last
            if waited_seconds > limit_seconds(tuple(self._steps), self._least_seconds):
                self._hung(waited_seconds)
                return
