"""Replicas of several nodes: a StatefulSet for each rank, in which pod N is of replica N.

Rank 0 leads: it alone is called, drained and counted as the replica. Nothing but StatefulSets and
a Service is needed; the kubelet brings a group together again (engine_vllm.following).
"""

from dataclasses import dataclass

from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.names import LABEL_COMPONENT, LABEL_OWNER_UID, LABEL_RANK, LABEL_REVISION
from llmcloud.plan.engines import Chosen
from llmcloud.plan.manifests.engine import (
    COMPONENT,
    WORKER,
    ModelSource,
    engine_deployment,
    engine_template,
    group_service,
    rescaled,
    template_revision,
)
from llmcloud.plan.manifests.engine_vllm import MEETING_PORT, Seat
from llmcloud.plan.manifests.pod import child_labels, names_service
from llmcloud.plan.model import Manifest, Owner, PodDefaults
from llmcloud.plan.stores import StoreAccess


@dataclass(frozen=True)
class EngineManifests:
    """What makes the replicas of a revision, without any yet: `leader` has as many as there are
    to be; `followers` are the other ranks, if any, and `shared` is for all revisions."""

    leader: Manifest
    followers: tuple[Manifest, ...] = ()
    shared: tuple[Manifest, ...] = ()


def engine_manifests(
    owner: Owner,
    spec: LLMDeploymentSpec,
    model: ModelSource,
    served_name: str,
    engine: Chosen,
    adapters: tuple[StoreAccess, ...],
    defaults: PodDefaults,
) -> EngineManifests:
    """A Deployment, or what replicas of several nodes need."""
    nodes = spec.nodes.max
    if nodes == 1:
        return EngineManifests(
            engine_deployment(owner, spec, model, served_name, 0, engine, adapters, defaults)
        )

    def template(rank: int, leader: str) -> Manifest:
        seat = Seat(rank, nodes, leader)
        return engine_template(owner, spec, model, served_name, engine, adapters, defaults, seat)

    revision = template_revision(template(0, ""))
    leader = f"{_name(owner, revision, 0)}-$(GROUP).{group_service(owner)}.{owner.namespace}.svc"
    sets = [_rank(owner, revision, rank, template(rank, leader)) for rank in range(nodes)]
    service = names_service(owner, group_service(owner), COMPONENT, MEETING_PORT)
    return EngineManifests(sets[0], tuple(sets[1:]), (service,))


def _name(owner: Owner, revision: str, rank: int) -> str:
    return f"{owner.name}-{revision}-n{rank}"


def _rank(owner: Owner, revision: str, rank: int, template: Manifest) -> Manifest:
    component = WORKER if rank else COMPONENT
    own = {LABEL_REVISION: revision, LABEL_RANK: str(rank)}
    template["metadata"]["labels"] |= own
    selector = {LABEL_OWNER_UID: owner.uid, LABEL_COMPONENT: component, **own}
    manifest: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": _name(owner, revision, rank),
            "namespace": owner.namespace,
            "labels": {**child_labels(owner, component), **own},
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "replicas": 0,
            "revisionHistoryLimit": 0,
            "serviceName": group_service(owner),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": selector},
            "template": template,
        },
    }
    return rescaled(manifest, 0)
