"""What can be reached at all: the best constant count in hindsight, and the clairvoyant limit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from llmcloud.scaling.policies.constant import ConstantPolicy
from llmcloud.scaling.simulate import Model, Outcome, Request, simulate


@dataclass(frozen=True)
class Clairvoyant:
    """Waits and GPU-hours of one who knows every arrival and every service time."""

    wait_p50_seconds: float
    wait_p95_seconds: float
    wait_p99_seconds: float
    most_replicas: int
    gpu_hours: float


def constant_count(trace: Sequence[Request], model: Model, replicas: int) -> Outcome:
    """`replicas` from the beginning to the end, ready at once."""
    return simulate(trace, replace(model, warm_replicas=replicas), ConstantPolicy(replicas))


def best_constant(
    trace: Sequence[Request], model: Model, wait_p95_seconds: float
) -> tuple[int, Outcome]:
    """The fewest replicas whose p95 wait is at most `wait_p95_seconds`, in hindsight.

    Waits fall as a constant count grows, so bisection finds it. Without one within the
    bounds: the most replicas allowed.
    """
    low, high = max(1, model.bounds.min_replicas), model.bounds.max_replicas
    found = constant_count(trace, model, high)
    while low < high:
        middle = (low + high) // 2
        outcome = constant_count(trace, model, middle)
        if outcome.wait_percentile(95) <= wait_p95_seconds:
            high, found = middle, outcome
        else:
            low = middle + 1
    return high, found


def clairvoyant(trace: Sequence[Request], model: Model) -> Clairvoyant:
    """The fewest GPU-hours at which nobody waits longer than with the most replicas all the time.

    It knows the whole trace, also before it begins, so that replicas are ready when they are
    needed, and it moves running requests between replicas at no cost. At each moment
    ceil(in flight / slots) replicas are needed, at least the minimum; the k-th of them is kept
    over a gap in the need for it, or given up and started anew, whichever costs less: the gap,
    or a cold start. Taking the k-th from the k-th level is optimal, because the needs are
    nested. So no policy that makes nobody wait longer needs fewer GPU-hours: a lower bound for
    these, and not one for policies that let requests wait.
    """
    fullest = constant_count(trace, model, model.bounds.max_replicas)
    changes = []
    for request, wait in zip(trace, fullest.waits, strict=True):
        start = request.time + wait
        changes += [(start, 1), (start + model.service_seconds(request), -1)]
    changes.sort()
    needed_since: list[float | None] = []
    free_since: list[float | None] = []
    seconds = model.bounds.min_replicas * fullest.end_seconds
    in_flight = most = 0
    for now, change in changes:
        in_flight += change
        needed = max(ceil(in_flight / model.bounds.slots), model.bounds.min_replicas)
        most = max(most, needed)
        while len(needed_since) < needed:
            needed_since.append(None)
            free_since.append(None)
        for level in range(model.bounds.min_replicas, len(needed_since)):
            since, free = needed_since[level], free_since[level]
            if level < needed and since is None:
                needed_since[level] = now
                cold = model.cold_start_seconds
                warm = 0.0 if level < model.warm_replicas else cold
                seconds += warm if free is None else min(now - free, cold)
            elif level >= needed and since is not None:
                seconds += now - since
                needed_since[level], free_since[level] = None, now
    return Clairvoyant(
        wait_p50_seconds=fullest.wait_percentile(50),
        wait_p95_seconds=fullest.wait_percentile(95),
        wait_p99_seconds=fullest.wait_percentile(99),
        most_replicas=most,
        gpu_hours=seconds / 3600,
    )
