"""How many replicas a deployment gets, and what its status says of the reasons."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from llmcloud.api.base import digest
from llmcloud.api.contract import EngineStart
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.plan.children import PodView
from llmcloud.plan.coldstart import cold_start, to_measure
from llmcloud.plan.model import Manifest, Owner, timestamp
from llmcloud.scaling.book import Terms
from llmcloud.scaling.observation import Bounds, Decision


@dataclass(frozen=True)
class ScalingView:
    """What is known of a deployment's load, and of how its newest replica started."""

    decision: Decision | None = None
    """The policy's last; None before its first."""
    start: EngineStart | None = None
    loads: Mapping[str, int] = field(default_factory=dict)
    """Requests in flight by endpoint."""


def bounds(spec: LLMDeploymentSpec) -> Bounds:
    """What `spec.scaling` allows."""
    scaling = spec.scaling
    return Bounds(scaling.target.in_flight, scaling.min_replicas, scaling.max_replicas)


def scaling_terms(spec: LLMDeploymentSpec, model: Manifest) -> Terms:
    """What the policy is to go by; `model` is the pinned one."""
    served = {key: model[key] for key in ("digest", "url") if key in model}
    hold = spec.scaling.scale_down_delay_seconds
    return Terms(
        bounds=bounds(spec),
        hold_seconds=None if hold is None else float(hold),
        zero_after_seconds=float(spec.scaling.scale_to_zero_after_seconds),
        profile=digest([served, spec.engine.wire(), spec.resources.wire()]),
    )


def desired_replicas(spec: LLMDeploymentSpec, current: int, decision: Decision | None) -> Decision:
    """Mode External obeys spec.replicas, mode Auto the policy, always within the bounds."""
    if spec.scaling.mode == "External":
        return Decision(spec.replicas, "spec.replicas, mode External")
    if decision is None:
        return Decision(bounds(spec).clamp(current), "no samples from the gateways yet")
    return replace(decision, replicas=bounds(spec).clamp(decision.replicas))


def endpoint(pod: PodView) -> str:
    """Where gateways reach a replica."""
    return f"{pod.ip}:{pod.port}"


def scaling_status(
    owner: Owner,
    decision: Decision,
    pods: Iterable[PodView],
    start: EngineStart | None,
    now: datetime,
) -> Manifest:
    """`status.scaling`. The reason is that of the last change: of the number, of whether there are
    samples, or of whether there may be as many as are needed."""
    before = owner.status.get("scaling") or {}
    same = owner.status.get("desiredReplicas", 0) == decision.replicas
    told = before.get("reason") and (
        (before.get("holding", False), before.get("limited", False))
        == (decision.holding, decision.limited)
    )
    measured = before.get("coldStart") or {}
    fresh = to_measure(pods, measured)
    scaling = {
        "reason": before["reason"] if same and told else decision.reason,
        "holding": True if decision.holding else None,
        "limited": True if decision.limited else None,
        "lastScaleTime": before.get("lastScaleTime") if same else timestamp(now),
        "coldStart": cold_start(fresh, start) if fresh else measured or None,
    }
    return {key: value for key, value in scaling.items() if value is not None}
