"""What a scaling policy sees, and what every policy is: numbers in, a number of replicas out."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Bounds:
    """What a deployment allows: `slots` requests at once per replica, and how many replicas."""

    slots: int
    min_replicas: int
    max_replicas: int

    def clamp(self, replicas: int) -> int:
        """`replicas` within the bounds."""
        return min(max(replicas, self.min_replicas), self.max_replicas)


@dataclass(frozen=True)
class Decision:
    """Replicas wanted, and why in words. `holding`: for want of samples. `limited`: the load needs
    more than may be."""

    replicas: int
    reason: str
    holding: bool = False
    limited: bool = False


@dataclass(slots=True)
class Observation:
    """One deployment at one moment, as gateways and cluster report it.

    Counters only grow. Replicas that drain count in `in_flight` only.
    """

    replicas: int
    """Asked for."""
    loads: tuple[int, ...]
    """Requests in flight, one number per ready replica."""
    pending_seconds: tuple[float, ...]
    """Age of each replica that is not ready yet, oldest first."""
    in_flight: int
    waiting: int
    """Held by the gateways, because every ready replica is full."""
    arrivals: int
    completions: int
    flight_seconds: float
    """The integral of `in_flight` over time."""
    request_seconds: float = 0.0
    """The integral of `in_flight + waiting` over time; gateways do not report it, and only other
    products' policies ask for it."""
    idle_seconds: float = 0.0
    """At least so long nothing has come, by the gateways' own clocks."""

    @property
    def ready(self) -> int:
        """Replicas that answer."""
        return len(self.loads)


class ScalingPolicy(Protocol):
    """A policy keeps its own windows; time is an argument, seconds of one clock."""

    interval_seconds: float

    def decide(self, now: float, observation: Observation) -> int:
        """The number of replicas to ask for."""
        ...
