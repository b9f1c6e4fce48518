"""Knative's pod autoscaler (KPA), by concurrency.

Source: knative/serving v1.23.0-5-g98e5ef90aa, pkg/autoscaler/scaling/autoscaler.go (Scale) and
pkg/autoscaler/config/config.go (defaults).

Every 2 s; stable = mean over 60 s, panic = mean over 6 s, target = 70 % of the limit;
ceil(mean / target); panic at ceil(panic / target) / ready >= 2, for 60 s after the last time, and
never down meanwhile; at most ready * 1000, at least floor(ready / 2). To zero when the stable
mean has been zero for 30 s more (the grace period).
"""

import math
from typing import Final

from llmcloud.scaling.observation import Bounds, Observation
from llmcloud.scaling.policies.windows import SlidingMean

TARGET_FRACTION: Final = 0.7
STABLE_SECONDS: Final = 60.0
PANIC_SECONDS: Final = 6.0
PANIC_THRESHOLD: Final = 2.0
UP_RATE: Final = 1000.0
DOWN_RATE: Final = 2.0
ZERO_GRACE_SECONDS: Final = 30.0


class KnativePodAutoscaler:
    """The container concurrency is the number of slots."""

    interval_seconds = 2.0

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._target = TARGET_FRACTION * bounds.slots
        self._stable = SlidingMean(STABLE_SECONDS)
        self._panic = SlidingMean(PANIC_SECONDS)
        self._panicked: float | None = None
        self._most = 0
        self._idle_since: float | None = None

    def decide(self, now: float, observation: Observation) -> int:
        """Scale as the stable mean says, or the panic mean while panicking."""
        ready = max(1, observation.ready)
        floor, ceiling = math.floor(ready / DOWN_RATE), math.ceil(ready * UP_RATE)
        stable = math.ceil(self._stable.add(now, observation.request_seconds) / self._target)
        panic = math.ceil(self._panic.add(now, observation.request_seconds) / self._target)
        if panic / ready >= PANIC_THRESHOLD:
            self._panicked = now
        elif self._panicked is not None and self._panicked + STABLE_SECONDS < now:
            self._panicked = None
            self._most = 0
        wanted = min(max(stable, floor), ceiling)
        if self._panicked is not None:
            self._most = max(self._most, wanted, min(max(panic, floor), ceiling))
            wanted = self._most
        return self._bounds.clamp(self._not_yet_zero(now, wanted))

    def _not_yet_zero(self, now: float, wanted: int) -> int:
        if wanted > 0:
            self._idle_since = None
            return wanted
        if self._idle_since is None:
            self._idle_since = now
        return 0 if now - self._idle_since >= ZERO_GRACE_SECONDS else 1
