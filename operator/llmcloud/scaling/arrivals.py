"""How fast requests arrive: now, in general, and soon."""

from bisect import bisect_right
from math import sqrt
from typing import Final

GENERAL_SECONDS: Final = 180.0
SHORTEST_SECONDS: Final = 30.0
"""Of a window for the general rate."""
CONFIDENCE: Final = ((5.0, 2.25), (15.0, 1.9), (30.0, 1.5), (60.0, 1.5), (120.0, 1.5))
"""Windows in seconds, and how many standard deviations of a Poisson count are taken off."""
LASTING: Final = 6.0
"""A rate is expected to last as many times as long as it has been seen."""
TREND_CONFIDENCE: Final = 2.0
TREND_MOST: Final = 0.5
_KEPT: Final = 4096


class Arrivals:
    """Counts by time; rates in requests per second."""

    def __init__(self, general_seconds: float = GENERAL_SECONDS) -> None:
        """`general_seconds`: the longest window of any rate, within the bounds above."""
        self._general = min(max(general_seconds, SHORTEST_SECONDS), GENERAL_SECONDS)
        self._count = 0
        self._times: list[float] = []
        self._counts: list[int] = []

    def add(self, now: float, new: int) -> None:
        """Note how many came since the time before; of the first, nothing is counted."""
        self._count += new
        self._times.append(now)
        self._counts.append(self._count)
        if len(self._times) > _KEPT:
            first = self._index(now - 2 * GENERAL_SECONDS - 1)
            del self._times[:first], self._counts[:first]

    def _index(self, time: float) -> int:
        return max(0, bisect_right(self._times, time) - 1)

    def _since(self, seconds: float) -> tuple[int, float]:
        index = self._index(self._times[-1] - seconds)
        return self._counts[-1] - self._counts[index], self._times[-1] - self._times[index]

    def rate(self, horizon_seconds: float) -> float:
        """What surely arrives, on average over the horizon.

        The highest rate of the short windows, less its statistical error, for as long as it
        may last; then the general one.
        """
        count, passed = self._since(self._general)
        general = count / max(passed, SHORTEST_SECONDS)
        best = 0.0
        for window, deviations in CONFIDENCE:
            if window > self._general:
                break
            count, passed = self._since(window)
            if passed > 0:
                sure = (count - deviations * sqrt(count)) / passed
                lasting = min(1.0, LASTING * window / horizon_seconds)
                best = max(best, sure * lasting + min(sure, general) * (1 - lasting))
        return best

    def general_rate(self, horizon_seconds: float) -> float:
        """The rate of the last minutes, continued along its trend if it surely rises."""
        count, passed = self._since(self._general)
        rate = count / max(passed, SHORTEST_SECONDS)
        both, whole = self._since(2 * self._general)
        if whole < 1.9 * self._general:
            return rate
        grown = count - (both - count) - TREND_CONFIDENCE * sqrt(both)
        rise = grown / self._general**2 * (self._general / 2 + horizon_seconds)
        return rate + min(max(0.0, rise), TREND_MOST * rate)
