"""What is known of an LLMDeployment when it is planned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llmcloud.api.adapter import AdapterReport
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.leases import KeySample
from llmcloud.api.names import LABEL_REVISION
from llmcloud.plan.accelerators import NodeLabels
from llmcloud.plan.adapters import AdapterView
from llmcloud.plan.autoscaling import ScalingView
from llmcloud.plan.canary import Evidence
from llmcloud.plan.children import PodView
from llmcloud.plan.conditions import Judgement, build_conditions
from llmcloud.plan.model import Manifest, ObjectRef, Owner
from llmcloud.plan.waiting import replicas_look_again_seconds


@dataclass(frozen=True)
class EngineView:
    """The Deployment of an engine's revision, or of an egress pod, as it is."""

    replicas: int
    ready: int
    refused: str
    """Why the cluster refuses pods; empty if it does not."""
    updated: int
    """Replicas of the newest template; 0 until the cluster has looked at it."""
    ref: ObjectRef | None = None
    revision: str = ""
    late: bool = False
    """No replica became ready within the progress deadline."""
    lacking: bool = False
    """A StatefulSet that has fewer pods than replicas, which only events explain."""
    raw: Manifest = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class DeploymentWorld:
    """An LLMDeployment, what it refers to, its replicas, its load."""

    owner: Owner
    training_job: Owner | None
    store: Owner | None
    engines: tuple[EngineView, ...]
    pods: tuple[PodView, ...]
    now: datetime
    scaling: ScalingView = field(default_factory=ScalingView)
    name_taken_by: str = ""
    """namespace/name of the older LLMDeployment that has the same served name."""
    egress: EngineView | None = None
    egress_pods: tuple[PodView, ...] = ()
    egress_samples: Mapping[str, KeySample] = field(default_factory=dict)
    """What egress pods with a budget have told, by pod."""
    nodes: NodeLabels | None = ()
    """The labels of the cluster's nodes, if they decide anything; None: they cannot be listed."""
    adapters: tuple[AdapterView, ...] = ()
    adapter_reports: Mapping[str, AdapterReport] = field(default_factory=dict)
    """By the name of the pod."""
    followers: tuple[EngineView, ...] = ()
    """StatefulSets of the ranks that do not lead, where replicas have several nodes."""
    workers: tuple[PodView, ...] = ()
    """Their pods."""
    evidence: Evidence | None = None
    """What gateways counted since the canary's step began; None while they do not answer."""
    unrouted: str = ""
    """Why gateways do not know it; empty if they do."""
    crowd: int = 1
    """Objects whose pods are awaited."""


def lacks_pods(raw: Manifest) -> bool:
    """Whether a StatefulSet has fewer pods than replicas. Deployments tell why by themselves."""
    made: int = (raw.get("status") or {}).get("replicas", 0)
    wanted: int = raw["spec"].get("replicas", 1)
    return raw.get("kind") == "StatefulSet" and made < wanted


def engine_view(raw: Manifest, warnings: tuple[str, ...] = ()) -> EngineView:
    """The Deployment or StatefulSet as the API server gives it, with what the cluster warns of."""
    status: dict[str, Any] = raw.get("status") or {}
    meta: dict[str, Any] = raw.get("metadata") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    failure = conditions.get("ReplicaFailure", {})
    seen = status.get("observedGeneration", 0) >= meta.get("generation", 0)
    return EngineView(
        replicas=raw["spec"].get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        refused=_refusal(failure, warnings),
        updated=status.get("updatedReplicas", 0) if seen else 0,
        ref=_reference(meta, raw.get("kind", "Deployment")),
        revision=(meta.get("labels") or {}).get(LABEL_REVISION, ""),
        late=conditions.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded",
        lacking=lacks_pods(raw),
        raw=raw,
    )


def _refusal(failure: Manifest, warnings: tuple[str, ...]) -> str:
    if failure.get("status") == "True":
        return str(failure.get("message", ""))
    return warnings[-1] if warnings else ""


def _reference(meta: Manifest, kind: str) -> ObjectRef | None:
    if "uid" not in meta:
        return None
    return ObjectRef("apps/v1", kind, meta["namespace"], meta["name"], meta["uid"])


def awaited_look_seconds(world: DeploymentWorld) -> float | None:
    """When events may tell more of pods that do not start, or were not made."""
    pods = (*world.pods, *world.workers, *world.egress_pods)
    lacking = any(one.lacking for one in (*world.engines, *world.followers))
    return replicas_look_again_seconds(pods, world.now, world.crowd, lacking=lacking)


def served_name(owner: Owner, spec: LLMDeploymentSpec) -> str:
    """What clients ask for."""
    return spec.served_model_name or owner.name


def deployment_status(world: DeploymentWorld, judgement: Judgement, members: Manifest) -> Manifest:
    """The whole status."""
    return {
        "observedGeneration": world.owner.generation,
        **members,
        "conditions": build_conditions(world.owner, world.now, judgement),
    }


def base_url(world: DeploymentWorld, gateway_url: str) -> str:
    """What clients set as their base URL."""
    path = f"/ns/{world.owner.namespace}/v1" if world.name_taken_by else "/v1"
    return f"{gateway_url}{path}"
