"""Is this process alive? Its watches deliver, its loop turns, its reconciles end.

A watch stream can fall silent while its process looks healthy. The leader renews its Lease every
few seconds, and every process watches that Lease: silence there is a deaf watch. Each kind has a
stream of its own: the slow resync lists it, and what is newest there must be heard.
"""

import time
from collections.abc import Callable
from typing import Final

from llmcloud.control.queue import WorkQueue

SILENCE_SECONDS: Final = 60.0
RECONCILE_SECONDS: Final = 120.0


class Pulse:
    """Signs of life. `clock`: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lease = clock()
        self._heard: dict[str, int] = {}
        self._listed: dict[str, tuple[int, float]] = {}
        """The newest version that a list had and the watch had not, and since when."""

    def hear(self, kind: str, resource_version: str) -> None:
        """A watch delivered an object of `kind`."""
        self._heard[kind] = max(self._heard.get(kind, 0), _number(resource_version))

    def list(self, kind: str, resource_version: str) -> None:
        """A list of `kind` has an object of that version: its watch delivers it, or a newer one."""
        version = _number(resource_version)
        if not self._is_late(kind) and version > self._heard.get(kind, 0):
            self._listed[kind] = version, self._clock()

    def _is_late(self, kind: str) -> bool:
        version, _ = self._listed.get(kind, (0, 0.0))
        return version > self._heard.get(kind, 0)

    def beat_lease(self) -> None:
        """A watch delivered the leader's heartbeat."""
        self._lease = self._clock()

    def complaint(self, queue: WorkQueue) -> str:
        """Why this process should be restarted; empty if it should not."""
        now = self._clock()
        silence = now - self._lease
        if silence > SILENCE_SECONDS:
            return f"no event of the Lease for {silence:.0f} s: the watches are deaf"
        for kind, (_, since) in self._listed.items():
            if self._is_late(kind) and now - since > SILENCE_SECONDS:
                return f"a {kind} changed {now - since:.0f} s ago, unheard: its watch is deaf"
        running = queue.oldest_running_seconds()
        if running > RECONCILE_SECONDS:
            return f"a reconcile has run for {running:.0f} s"
        return ""


def _number(resource_version: str) -> int:
    """Versions of one kind are numbers that grow; where they are none, nothing is judged."""
    return int(resource_version) if resource_version.isdecimal() else 0
