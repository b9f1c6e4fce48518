"""AIBrix's application-specific pod autoscaler (APA).

Source: vllm-project/aibrix v0.7.0-156-ge3e10f9e, pkg/controller/podautoscaler/algorithm/apa.go,
autoscaler.go (applyPendingReplicaGuard), context/context.go and podautoscaler_controller.go
(stabilizeRecommendation, every 10 s).

usage = requests per ready replica, mean over 180 s; beyond 10 % of the target:
ceil(replicas * usage / target), at most *2, at least /2 per step. While replicas are pending, a
rise counts them as idle, a fall as at the target. Of the recommendations below the present
number, the lowest of 300 s is taken, as its source does. The target is 0.8 slots.
"""

import math
from collections import deque
from typing import Final

from llmcloud.scaling.observation import Bounds, Observation
from llmcloud.scaling.policies.windows import SlidingMean

TARGET_FRACTION: Final = 0.8
TOLERANCE: Final = 0.1
STEP: Final = 2.0
WINDOW_SECONDS: Final = 180.0
DOWN_SECONDS: Final = 300.0


class AIBrix:
    """`target` requests per replica."""

    interval_seconds = 10.0

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._target = TARGET_FRACTION * bounds.slots
        self._usage = SlidingMean(WINDOW_SECONDS)
        self._integral = 0.0
        self._last: tuple[float, float] | None = None
        self._recommended: deque[tuple[float, int]] = deque()

    def decide(self, now: float, observation: Observation) -> int:
        """Recommend, guard against pending replicas, stabilise."""
        usage = self._mean(now, observation)
        current = observation.replicas
        if current == 0:
            return 0  # replicas of 0 switch it off
        wanted = self._guarded(usage, self._recommend(usage, current), observation)
        history = self._recommended
        history.append((now, wanted))
        while history[0][0] <= now - DOWN_SECONDS:
            history.popleft()
        if wanted < current:
            wanted = min(recommended for _, recommended in history)
        return self._bounds.clamp(wanted)

    def _mean(self, now: float, observation: Observation) -> float:
        """Requests per ready replica between two looks, averaged over the window."""
        if self._last is not None and observation.ready:
            before, integral = self._last
            requests = (observation.request_seconds - integral) / (now - before)
            self._integral += requests / observation.ready * (now - before)
        self._last = (now, observation.request_seconds)
        return self._usage.add(now, self._integral)

    def _recommend(self, usage: float, current: int) -> int:
        ratio = usage / self._target
        if ratio > 1 + TOLERANCE:
            return min(math.ceil(current * ratio), math.ceil(current * STEP))
        if ratio < 1 - TOLERANCE:
            return max(math.ceil(current * ratio), math.floor(current / STEP))
        return current

    def _guarded(self, usage: float, wanted: int, observation: Observation) -> int:
        current, ready = observation.replicas, observation.ready
        pending = current - ready
        wanted = self._bounds.clamp(wanted)
        if pending <= 0 or wanted == current:
            return wanted
        if wanted > current:
            adjusted = math.ceil(usage * ready / self._target)
            return min(max(adjusted, current), wanted)
        adjusted = math.ceil((usage * ready + self._target * pending) / self._target)
        return max(min(adjusted, current), wanted)
