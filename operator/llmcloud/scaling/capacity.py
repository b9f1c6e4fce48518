"""What is learned of one model on one kind of hardware: service time and cold start."""

from typing import Final

from llmcloud.scaling.observation import Observation

HALF_LIFE_REQUESTS: Final = 500
"""A completion counts half as much after as many others."""
FEWEST_REQUESTS: Final = 10
COLD_START_WEIGHT: Final = 0.3
UNMEASURED_MOST: Final = 6.0
"""Before one is measured, a cold start is believed to last at most as many times as expected."""
MOST_COLD_START_SECONDS: Final = 3600.0
STUCK_COLD_STARTS: Final = 2.0
"""A replica older than that many cold starts is not counted on."""


class Capacity:
    """Learned from observations; all durations in seconds."""

    def __init__(self, cold_start_seconds: float) -> None:
        """`cold_start_seconds`: what is believed until one has been measured."""
        self._cold_start = cold_start_seconds
        self._measured = False
        self._oldest_pending = 0.0
        self._flight = 0.0
        self._completions = 0.0
        self._in_flight = 0

    def learn(self, before: Observation, now: Observation, passed: float) -> None:
        """Take what happened between two observations."""
        done = max(0, now.completions - before.completions)
        fade = 0.5 ** (done / HALF_LIFE_REQUESTS)
        flown = max(0.0, now.flight_seconds - before.flight_seconds)
        self._flight = self._flight * fade + flown
        self._completions = self._completions * fade + done
        self._in_flight = now.in_flight
        self._oldest_pending = now.pending_seconds[0] if now.pending_seconds else 0.0
        if now.ready > before.ready and before.pending_seconds:
            age = min(before.pending_seconds[0] + passed, MOST_COLD_START_SECONDS)
            weight = COLD_START_WEIGHT if self._measured else 1.0
            self._cold_start += weight * (age - self._cold_start)
            self._measured = True

    @property
    def service_seconds(self) -> float:
        """How long a request holds its slot; 0 before anything is known.

        Little's law: time in flight over completions. Until enough have completed, those in
        flight count as if they were about to.
        """
        if self._completions >= FEWEST_REQUESTS:
            return self._flight / self._completions
        return self._flight / max(1.0, self._completions + self._in_flight)

    @property
    def cold_start_seconds(self) -> float:
        """From a replica's creation to its first Ready; before the first, at least its age."""
        if self._measured:
            return self._cold_start
        most = UNMEASURED_MOST * self._cold_start
        return max(self._cold_start, min(self._oldest_pending, most))

    def etas(self, now: Observation) -> list[float]:
        """Seconds until each pending replica serves; those that are stuck are left out."""
        cold = self.cold_start_seconds
        return [
            max(0.0, cold - age) for age in now.pending_seconds if age < STUCK_COLD_STARTS * cold
        ]
