"""The HorizontalPodAutoscaler of Kubernetes on an Object metric of type AverageValue.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go
(GetObjectPerPodMetricReplicas) and horizontal.go (stabilizeRecommendationWithBehaviors, the
limits by behaviour) at 00067268967e, pkg/apis/autoscaling/v2/defaults.go at 1adaa7534575.

desired = ceil(metric / target), unless |metric / (target * replicas) - 1| <= 0.1; every 15 s;
down to the highest recommendation of 300 s; up by at most 4 replicas or 100 % per 15 s. The
metric is what the gateways hold and the replicas serve, the target 0.8 slots: its users choose
both. Waiting requests alone would tell nothing until every replica is full.
"""

import math
from collections import deque
from typing import Final

from llmcloud.scaling.observation import Bounds, Observation

TARGET_FRACTION: Final = 0.8
TOLERANCE: Final = 0.1
STABILIZATION_SECONDS: Final = 300.0
UP_PERIOD_SECONDS: Final = 15.0
UP_REPLICAS: Final = 4


class HorizontalPodAutoscaler:
    """`target` requests per replica."""

    interval_seconds = 15.0

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._target = TARGET_FRACTION * bounds.slots
        self._recommended: deque[tuple[float, int]] = deque()
        self._added: deque[tuple[float, int]] = deque()

    def decide(self, now: float, observation: Observation) -> int:
        """Recommend, stabilise, limit the speed."""
        current = observation.replicas
        if current == 0:
            return 0  # a replica count of 0 switches the HPA off
        metric = observation.in_flight + observation.waiting
        desired = current
        if abs(metric / (self._target * current) - 1) > TOLERANCE:
            desired = math.ceil(metric / self._target)
        history = self._recommended
        while history and history[0][0] <= now - STABILIZATION_SECONDS:
            history.popleft()
        history.append((now, desired))
        if desired < current:
            desired = min(current, max(recommended for _, recommended in history))
        while self._added and self._added[0][0] <= now - UP_PERIOD_SECONDS:
            self._added.popleft()
        before = current - sum(count for _, count in self._added)
        desired = min(desired, max(current, before + UP_REPLICAS, before * 2))
        desired = self._bounds.clamp(desired)
        if desired > current:
            self._added.append((now, desired - current))
        return desired
