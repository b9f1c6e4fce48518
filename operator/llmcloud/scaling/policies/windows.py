"""Averages of a growing integral over sliding windows."""

from collections import deque


class SlidingMean:
    """The mean of a quantity over the last `seconds`, from its integral over time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, integral: float) -> float:
        """Note the integral at `now`; the mean. The window grows from the first sample."""
        samples = self._samples
        samples.append((now, integral))
        while len(samples) > 2 and samples[1][0] <= now - self._seconds:
            samples.popleft()
        since, before = samples[0]
        return (integral - before) / (now - since) if now > since else 0.0
