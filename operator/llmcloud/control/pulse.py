"""Is this process alive? Its watches deliver, its loop turns, its reconciles end.

A watch stream can fall silent while its process looks healthy. The leader renews its Lease every
few seconds, and every process watches that Lease: silence there is a deaf watch.
"""

import time
from typing import Final

from llmcloud.control.queue import WorkQueue

SILENCE_SECONDS: Final = 60.0
RECONCILE_SECONDS: Final = 120.0


class Pulse:
    """Times of the last signs of life, in seconds of `time.monotonic`."""

    def __init__(self) -> None:
        self._lease = time.monotonic()
        self.events = 0

    def beat(self) -> None:
        """A watch delivered an event."""
        self.events += 1

    def beat_lease(self) -> None:
        """A watch delivered the leader's heartbeat."""
        self._lease = time.monotonic()

    def complaint(self, queue: WorkQueue) -> str:
        """Why this process should be restarted; empty if it should not."""
        silence = time.monotonic() - self._lease
        if silence > SILENCE_SECONDS:
            return f"no event of the Lease for {silence:.0f} s: the watches are deaf"
        running = queue.oldest_running_seconds()
        if running > RECONCILE_SECONDS:
            return f"a reconcile has run for {running:.0f} s"
        return ""
