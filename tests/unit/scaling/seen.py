"""Observations for tests: only what matters is named."""

from collections.abc import Sequence

from llmcloud.scaling.observation import Bounds, Observation

BOUNDS = Bounds(slots=32, min_replicas=1, max_replicas=32)


def seen(
    replicas: int = 1,
    ready: int | None = None,
    *,
    loads: Sequence[int] | None = None,
    waiting: int = 0,
    arrivals: int = 0,
    completions: int = 0,
    flight_seconds: float = 0.0,
    request_seconds: float = 0.0,
    pending_seconds: Sequence[float] | None = None,
) -> Observation:
    """`replicas` are asked for; all are ready unless `ready` says fewer."""
    many = replicas if ready is None else ready
    loads = tuple(loads) if loads is not None else (0,) * many
    if pending_seconds is None:
        pending_seconds = (0.0,) * (replicas - len(loads))
    return Observation(
        replicas=replicas,
        loads=tuple(loads),
        pending_seconds=tuple(pending_seconds),
        in_flight=sum(loads),
        waiting=waiting,
        arrivals=arrivals,
        completions=completions,
        flight_seconds=flight_seconds,
        request_seconds=request_seconds,
    )
