"""Run a trace under policies, beside the best constant count and the clairvoyant limit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmcloud.scaling.learned import LearnedPolicy
from llmcloud.scaling.limits import best_constant, clairvoyant
from llmcloud.scaling.observation import Bounds, ScalingPolicy
from llmcloud.scaling.policies.aibrix import AIBrix
from llmcloud.scaling.policies.dynamo import DynamoPlanner
from llmcloud.scaling.policies.hpa import HorizontalPodAutoscaler
from llmcloud.scaling.policies.knative import KnativePodAutoscaler
from llmcloud.scaling.policies.kubeai import KubeAI
from llmcloud.scaling.policies.ray_serve import RayServe
from llmcloud.scaling.policies.wva import WorkloadVariantAutoscaler
from llmcloud.scaling.simulate import Model, Outcome, Request, simulate

OURS: Final = "llmcloud"
PRODUCTS: Final[dict[str, Callable[[Bounds], ScalingPolicy]]] = {
    "hpa": HorizontalPodAutoscaler,
    "kpa": KnativePodAutoscaler,
    "kubeai": KubeAI,
    "ray-serve": RayServe,
    "apa": AIBrix,
    "wva": WorkloadVariantAutoscaler,
    "dynamo": DynamoPlanner,
}
POLICIES: Final[dict[str, Callable[[Bounds], ScalingPolicy]]] = {OURS: LearnedPolicy, **PRODUCTS}


@dataclass(frozen=True)
class Row:
    """One policy's figures on one trace. Waits in seconds."""

    policy: str
    wait_p50_seconds: float
    wait_p95_seconds: float
    wait_p99_seconds: float
    most_replicas: int
    gpu_hours: float
    reversals: int
    unserved: int
    timeline: tuple[tuple[float, int], ...] = ()
    """(seconds, replicas asked for), one entry per change."""


def row(policy: str, outcome: Outcome) -> Row:
    """The figures of a run."""
    return Row(
        policy=policy,
        wait_p50_seconds=outcome.wait_percentile(50),
        wait_p95_seconds=outcome.wait_percentile(95),
        wait_p99_seconds=outcome.wait_percentile(99),
        most_replicas=outcome.most_replicas,
        gpu_hours=outcome.gpu_hours,
        reversals=outcome.reversals,
        unserved=outcome.unserved,
        timeline=(*outcome.timeline, (outcome.end_seconds, outcome.timeline[-1][1])),
    )


def replay(trace: Sequence[Request], model: Model, policies: Sequence[str], seed: int) -> list[Row]:
    """A row per policy, then the two limits.

    The constant count is the smallest whose p95 wait is not above the lowest of the policies.
    """
    rows = [
        row(name, simulate(trace, model, POLICIES[name](model.bounds), seed)) for name in policies
    ]
    lowest = min(found.wait_p95_seconds for found in rows)
    count, outcome = best_constant(trace, model, lowest)
    limit = clairvoyant(trace, model)
    return [
        *rows,
        row(f"constant {count}", outcome),
        Row(
            policy="clairvoyant",
            wait_p50_seconds=limit.wait_p50_seconds,
            wait_p95_seconds=limit.wait_p95_seconds,
            wait_p99_seconds=limit.wait_p99_seconds,
            most_replicas=limit.most_replicas,
            gpu_hours=limit.gpu_hours,
            reversals=0,
            unserved=0,
        ),
    ]
