"""The Deployments of a deployment's revisions: which there should be, and of what size."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmcloud.api.names import LABEL_REVISION
from llmcloud.plan.deployment_world import DeploymentWorld, EngineView
from llmcloud.plan.draining import deletion_costs
from llmcloud.plan.manifests.engine import PROGRESS_SECONDS, rescaled
from llmcloud.plan.manifests.engine_group import EngineManifests
from llmcloud.plan.model import Manifest, ObjectRef, Owner
from llmcloud.plan.rollout import RevisionView, Rollout


@dataclass(frozen=True)
class Children:
    """What is applied, in this order, and what goes.

    `marks`: pods, which of them are to go first where a revision shrinks.
    """

    marks: tuple[Manifest, ...]
    engines: tuple[Manifest, ...]
    deletes: tuple[ObjectRef, ...]


def revision_of(engine: Manifest) -> str:
    """The revision that an engine's Deployment is of."""
    revision: str = engine["metadata"]["labels"][LABEL_REVISION]
    return revision


def revision_views(world: DeploymentWorld) -> dict[str, RevisionView]:
    """The revisions that have a Deployment.

    One that has once had all its replicas, be it none, is never late by the cluster's own word:
    there it is a pod that has not been ready for as long.
    """
    late = {revision for revision, left in _seconds_left(world) if left <= 0}
    return {
        engine.revision: RevisionView(
            engine.replicas, engine.ready, engine.late or engine.revision in late
        )
        for engine in world.engines
    }


def next_late_seconds(world: DeploymentWorld) -> float | None:
    """When the next replica will have been without Ready for too long."""
    return min((left for _, left in _seconds_left(world) if left > 0), default=None)


def _seconds_left(world: DeploymentWorld) -> list[tuple[str, float]]:
    """Until each pod that is not ready is late, by revision."""
    waiting = [pod for pod in world.pods if pod.comes]
    since = [(pod.revision, pod.ready_flipped or pod.created) for pod in waiting]
    return [
        (revision, PROGRESS_SECONDS - (world.now - moment).total_seconds())
        for revision, moment in since
        if moment is not None
    ]


def engine_children(
    world: DeploymentWorld, rollout: Rollout, wanted: EngineManifests, sizes: Mapping[str, int]
) -> Children:
    """`wanted` is what the specification makes. Others are kept as they are, but for their
    replicas: what made them is gone.

    A revision that was rejected keeps its Deployment, without replicas, as a witness: until the
    status tells of it, its state is all that does.
    """
    there = {engine.revision: engine for engine in world.engines}
    asked = dict(sizes)
    if rollout.rejected is not None and rollout.rejected["revision"] in there:
        asked[rollout.rejected["revision"]] = 0
    marks: tuple[Manifest, ...] = ()
    engines: list[Manifest] = [*wanted.shared]
    for revision, size in asked.items():
        engine = there.get(revision)
        if engine is not None and size < engine.replicas:
            pods = [pod for pod in world.pods if pod.revision == revision]
            marks += deletion_costs(world.owner, pods, world.scaling.loads, size)
        engines += _followers(world, wanted, revision, size)
        if revision == revision_of(wanted.leader):
            engines.append(rescaled(wanted.leader, size))
        elif engine is not None:
            engines.append(_kept(world.owner, engine, size))
    gone = [one.ref for one in world.engines if one.revision not in asked]
    gone += [
        one.ref
        for one in world.followers
        if one.revision not in asked and not _groups(world, one.revision)
    ]
    return Children(marks, tuple(engines), tuple(ref for ref in gone if ref))


def _groups(world: DeploymentWorld, revision: str) -> int:
    """How many replicas of several nodes have a leader, those that go among them."""
    return max((pod.index + 1 for pod in world.pods if pod.revision == revision), default=0)


def _followers(
    world: DeploymentWorld, wanted: EngineManifests, revision: str, size: int
) -> list[Manifest]:
    """The other ranks stay until their leader is gone, which may still finish its requests."""
    size = max(size, _groups(world, revision))
    if revision == revision_of(wanted.leader):
        return [rescaled(one, size) for one in wanted.followers]
    kept = (one for one in world.followers if one.revision == revision)
    return [_kept(world.owner, one, size) for one in kept]


def _kept(owner: Owner, engine: EngineView, replicas: int) -> Manifest:
    meta = engine.raw["metadata"]
    kept: Manifest = {
        "apiVersion": "apps/v1",
        "kind": engine.raw.get("kind", "Deployment"),
        "metadata": {
            "name": meta["name"],
            "namespace": owner.namespace,
            "labels": meta["labels"],
            "ownerReferences": [owner.reference],
        },
        "spec": engine.raw["spec"],
    }
    return rescaled(kept, replicas)
