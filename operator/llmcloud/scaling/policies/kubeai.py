"""KubeAI's model autoscaler.

Source: substratusai/kubeai v0.21.0-3-g2f32ef4, internal/modelautoscaler/autoscaler.go,
internal/movingaverage/simple.go, internal/modelclient/scale.go, internal/config/system.go.

Every 10 s; the mean of the last 60 readings of active requests (10 min), zeros at first;
ceil(mean / targetRequests); down after scaleDownDelaySeconds (30) / 10 = 3 lower decisions in a
row; from zero by its proxy. Its default target, 100, is more than a replica's slots here, so the
target is the slots.
"""

import math
from collections import deque
from typing import Final

from llmcloud.scaling.observation import Bounds, Observation

READINGS: Final = 60
SCALE_DOWNS: Final = 3


class KubeAI:
    """`slots` active requests per replica."""

    interval_seconds = 10.0

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._readings = deque([0] * READINGS, maxlen=READINGS)
        self._lower = 0

    def decide(self, now: float, observation: Observation) -> int:
        """The mean's replicas; fewer only after three such decisions."""
        active = observation.in_flight + observation.waiting
        self._readings.append(active)
        mean = sum(self._readings) / READINGS
        wanted = self._bounds.clamp(math.ceil(mean / self._bounds.slots))
        current = observation.replicas
        if current == 0:
            return max(wanted, 1 if active else 0)
        if wanted >= current:
            self._lower = 0
            return wanted
        if self._lower < SCALE_DOWNS:
            self._lower += 1
            return current
        return wanted
