"""llm-d's workload variant autoscaler (WVA), its saturation analyser, with one variant.

Source: llm-d/llm-d-workload-variant-autoscaler 36587f8, internal/saturation/analyzer.go; defaults
of internal/config/saturation_scaling.go; every 60 s (GLOBAL_OPT_INTERVAL).

A replica is saturated at 80 % of its KV cache or 5 queued requests. +1 if the mean spare of the
others is below 0.1 of the cache or 3 queued; -1 if, with the load spread over one replica less,
both spares stay above; nothing while replicas are pending. The KV cache is taken to be as full
as the slots, the queue of a replica to be its share of what the gateways hold.
"""

from typing import Final

from llmcloud.scaling.observation import Bounds, Observation

CACHE_THRESHOLD: Final = 0.8
QUEUE_THRESHOLD: Final = 5.0
CACHE_SPARE: Final = 0.1
QUEUE_SPARE: Final = 3.0
FEWEST_UNSATURATED: Final = 2


class WorkloadVariantAutoscaler:
    """One step at a time, and only when all replicas report."""

    interval_seconds = 60.0

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    def decide(self, now: float, observation: Observation) -> int:
        """+1, -1 or the same."""
        ready = observation.ready
        if ready == 0 or ready != observation.replicas:
            return observation.replicas
        queue = observation.waiting / ready
        caches = [load / self._bounds.slots for load in observation.loads]
        free = [c for c in caches if c < CACHE_THRESHOLD and queue < QUEUE_THRESHOLD]
        spare_cache = CACHE_THRESHOLD - sum(free) / len(free) if free else 0.0
        spare_queue = QUEUE_THRESHOLD - queue if free else 0.0
        if spare_cache < CACHE_SPARE or spare_queue < QUEUE_SPARE:
            return self._bounds.clamp(ready + 1)
        if len(free) < FEWEST_UNSATURATED:
            return ready
        spread = len(free) / (len(free) - 1)
        cache_left = CACHE_THRESHOLD - (CACHE_THRESHOLD - spare_cache) * spread
        queue_left = QUEUE_THRESHOLD - (QUEUE_THRESHOLD - spare_queue) * spread
        if cache_left >= CACHE_SPARE and queue_left >= QUEUE_SPARE:
            return self._bounds.clamp(ready - 1)
        return ready
