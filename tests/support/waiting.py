"""Wait for the world to be so, with a limit that says what it looked like at the end."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    what: str,
    look: Callable[[], T],
    until: Callable[[T], object],
    seconds: float = 60.0,
    every_seconds: float = 0.25,
) -> T:
    """Look until `until` holds; the last look. Raises AssertionError naming it after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if until(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}; last seen: {seen!r:.4000}")
        time.sleep(every_seconds)
