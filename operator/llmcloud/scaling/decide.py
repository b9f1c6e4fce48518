"""How many replicas a load needs. Time is an argument; nothing is remembered here.

Arriving work counts with held requests; the way down follows the highest load of a window, so
that a lull does not drain replicas; zero follows silence.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What the gateways carry for one deployment, summed.

    `peak_in_flight` is the most of (in flight + waiting) within the last
    `observed_seconds`; `idle_seconds` the shortest silence over the gateways.
    """

    in_flight: int
    waiting: int
    idle_seconds: float
    peak_in_flight: int
    observed_seconds: float


@dataclass(frozen=True)
class Policy:
    """The bounds and the target of one deployment."""

    min_replicas: int
    max_replicas: int
    in_flight_per_replica: int
    scale_down_delay_seconds: int
    scale_to_zero_after_seconds: int


@dataclass(frozen=True)
class Decision:
    """Replicas wanted, and why in words."""

    replicas: int
    reason: str


def decide(current: int, load: Load | None, policy: Policy) -> Decision:
    """The number of replicas for `load`; without samples the current number is held.

    Up at once, to ceil((in flight + waiting) / target); down to what the peak of the window
    needs, once the window has been watched whole; to zero after silence.
    """
    low, high = policy.min_replicas, policy.max_replicas
    if load is None:
        held = min(max(current, low), high)
        return Decision(held, "no samples from the gateways: holding")
    needed = math.ceil((load.in_flight + load.waiting) / policy.in_flight_per_replica)
    if needed > current:
        return _bounded(needed, low, high, f"{load.in_flight + load.waiting} requests to carry")
    busy = load.in_flight + load.waiting > 0
    if not busy and low == 0 and load.idle_seconds >= policy.scale_to_zero_after_seconds:
        return Decision(0, f"no request for {policy.scale_to_zero_after_seconds} s")
    peak = max(1, math.ceil(load.peak_in_flight / policy.in_flight_per_replica))
    if peak < current and load.observed_seconds >= policy.scale_down_delay_seconds:
        return _bounded(peak, low, high, f"at most {load.peak_in_flight} requests for a while")
    return _bounded(current, low, high, "the load fits")


def _bounded(replicas: int, low: int, high: int, reason: str) -> Decision:
    if replicas > high:
        return Decision(high, f"{reason}: at maxReplicas")
    if replicas < low:
        return Decision(low, f"{reason}: at minReplicas")
    return Decision(replicas, reason)
