"""Dynamo's planner, load mode, aggregated engines, target "sla".

Source: ai-dynamo/dynamo 0c6da1ec, components/src/dynamo/planner/core/load_scaling.py
(_advance_load_agg, _agg_prefill_scaling, _scale_decision) and planner/config/defaults.py.

Every 5 s, nothing while scaling. +1 if every engine's predicted time to first token is above its
target (0.5 s); -1 if what queueing adds, with queue and load spread over one engine less, stays
below 80 % of the target, and the cache holds the load. Its regressions over forward passes are
replaced by what they would learn here: a request waits for its engine's share of the queue, at
the rate at which a full engine completes requests; what the request itself needs before its
first token is taken as nothing. The time between tokens does not depend on the load here.
"""

from typing import Final

from llmcloud.scaling.observation import Bounds, Observation

SENSITIVITY: Final = 0.8
FIRST_TOKEN_SECONDS: Final = 0.5
FEWEST_OBSERVATIONS: Final = 5


class DynamoPlanner:
    """Latency predicted per engine from its queue."""

    interval_seconds = 5.0

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    def decide(self, now: float, observation: Observation) -> int:
        """+1, -1 or the same."""
        ready = observation.ready
        if ready == 0 or ready != observation.replicas:
            return observation.replicas
        if observation.completions < FEWEST_OBSERVATIONS:
            return ready
        slots = self._bounds.slots
        service = observation.flight_seconds / observation.completions
        queue = observation.waiting / ready
        if queue * service / slots > FIRST_TOKEN_SECONDS:
            return self._bounds.clamp(ready + 1)
        if ready == 1:
            return ready
        spread = ready / (ready - 1)
        added = queue * spread * service / slots
        busiest = (max(observation.loads) + queue) * spread
        if added < FIRST_TOKEN_SECONDS * SENSITIVITY and busiest < slots:
            return self._bounds.clamp(ready - 1)
        return ready
