"""Shadow queues: how long requests would wait with 1, 2, 3, ... replicas always there.

Each follows the arrivals of the real deployment as a fluid: n requests in the system leave
at the rate min(n, slots * replicas) / service. The backlog of a cold start appears in none that
is large enough, which is what keeps arriving work apart from backlog.
"""

from math import inf
from typing import Final

from llmcloud.scaling.observation import Bounds

MEMORY: Final = 1.5
"""A queue forgets what would wait longer than so many times the tolerance: its past shortage
must not speak for the load of now."""
SAME_SHORTAGE_SECONDS: Final = 30.0
RETURN_MARGIN: Final = 1.2
RETURN_FADE: Final = 0.7


class ShadowQueues:
    """For every number of replicas: when it was last too small, and how soon that came back."""

    def __init__(self, bounds: Bounds) -> None:
        self._slots = bounds.slots
        self._most = bounds.max_replicas
        self._requests = [0.0] * (self._most + 1)
        self._short_at = [-inf] * (self._most + 1)
        self._return_seconds = [0.0] * (self._most + 1)

    def pass_on(
        self,
        now: float,
        passed: float,
        arrivals: int,
        service_seconds: float,
        tolerance_seconds: float,
        longest_seconds: float,
    ) -> None:
        """Let `passed` seconds go by in which `arrivals` requests came.

        A return later than `longest_seconds` is not learned.
        """
        if not arrivals and self._requests[1] < 0.01:
            return  # one replica alone has nothing left, so the others have not either
        leaving = min(passed / service_seconds, 1.0)
        for replicas in range(1, self._most + 1):
            room = self._slots * replicas
            before = self._requests[replicas]
            most = room * (1 + MEMORY * tolerance_seconds / service_seconds)
            requests = min(before + arrivals - min(before, room) * leaving, most)
            self._requests[replicas] = requests
            if (requests - room) * service_seconds > tolerance_seconds * room:
                self._note(now, replicas, longest_seconds)

    def _note(self, now: float, replicas: int, longest_seconds: float) -> None:
        gap = now - self._short_at[replicas]
        if SAME_SHORTAGE_SECONDS < gap <= longest_seconds:
            faded = RETURN_FADE * self._return_seconds[replicas]
            self._return_seconds[replicas] = max(gap, faded)
        self._short_at[replicas] = now

    def enough(self, now: float, window_seconds: float, longest_seconds: float) -> int:
        """The fewest replicas that would have held the load over the window, at least 1.

        The window of a number grows, up to `longest_seconds`, to the time after which its
        shortage has been seen to return.
        """
        for replicas in range(self._most, 0, -1):
            window = max(window_seconds, RETURN_MARGIN * self._return_seconds[replicas])
            if now - self._short_at[replicas] <= min(window, max(longest_seconds, window_seconds)):
                return replicas + 1
        return 1
