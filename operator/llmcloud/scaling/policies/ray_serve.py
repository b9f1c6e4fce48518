"""Ray Serve's request autoscaling.

Source: ray-project/ray, python/ray/serve/autoscaling_policy.py at 00590c456b9a and
python/ray/serve/_private/autoscaling_state.py at 00215194d8ba; delays as its documentation
gives them.

desired = ceil(ongoing / target), ongoing = queued and running, averaged over 30 s
(look_back_period_s); up when it has been higher at every look of more than 30 s
(upscale_delay_s), down when lower for more than 600 s (downscale_delay_s); a look every 0.1 s
there, every second here; from zero at once. Its default target, 2, is for replicas that serve
few requests at once; here it is 0.7 of the slots, since it is to stay below
max_ongoing_requests.
"""

import math
from typing import Final

from llmcloud.scaling.observation import Bounds, Observation
from llmcloud.scaling.policies.windows import SlidingMean

TARGET_FRACTION: Final = 0.7
LOOK_BACK_SECONDS: Final = 30.0
UP_DELAY_SECONDS: Final = 30.0
DOWN_DELAY_SECONDS: Final = 600.0


class RayServe:
    """`target` ongoing requests per replica."""

    interval_seconds = 1.0

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._target = TARGET_FRACTION * bounds.slots
        self._ongoing = SlidingMean(LOOK_BACK_SECONDS)
        self._looks = 0

    def decide(self, now: float, observation: Observation) -> int:
        """Count looks that agree on a direction; act on the last one when they are enough."""
        mean = self._ongoing.add(now, observation.request_seconds)
        current = observation.replicas
        if current == 0:
            return self._bounds.clamp(1) if observation.waiting else 0
        desired = self._bounds.clamp(math.ceil(mean / self._target - 1e-9))
        if desired > current:
            self._looks = max(self._looks, 0) + 1
            if self._looks <= UP_DELAY_SECONDS / self.interval_seconds:
                return current
        elif desired < current:
            self._looks = min(self._looks, 0) - 1
            if -self._looks <= DOWN_DELAY_SECONDS / self.interval_seconds:
                return current
            desired = max(desired, 1) if current > 1 else desired
        self._looks = 0
        return desired
