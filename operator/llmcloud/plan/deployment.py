"""LLMDeployment: pin a model, keep its replicas, follow the load, tell the truth."""

from collections.abc import Mapping
from dataclasses import replace

from llmcloud.api.contract import ENGINE_PORT
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.model import TrainingJobModel
from llmcloud.api.names import Condition, Reason
from llmcloud.plan.adapters import (
    LOOK_AGAIN_SECONDS,
    adapter_status,
    resolve_adapters,
    tell_pods,
    unsettled,
)
from llmcloud.plan.autoscaling import desired_replicas, scaling_status
from llmcloud.plan.conditions import Judgement
from llmcloud.plan.deployment_world import (
    DeploymentWorld,
    awaited_look_seconds,
    base_url,
    deployment_status,
    served_name,
)
from llmcloud.plan.draining import disruption_budget
from llmcloud.plan.egress import (
    fallback_children,
    lease_members,
    plan_external,
    told_with_fallback,
)
from llmcloud.plan.engines import choose_engine
from llmcloud.plan.manifests.egress import serving_policy
from llmcloud.plan.manifests.engine import ModelSource, engine_selector
from llmcloud.plan.manifests.engine_group import engine_manifests
from llmcloud.plan.model import Manifest, Owner, Plan, PodDefaults, parse
from llmcloud.plan.revisions import (
    engine_children,
    next_late_seconds,
    revision_of,
    revision_views,
)
from llmcloud.plan.rollout import Look, Rollout, Wanted, decide, look_again_seconds, sizes
from llmcloud.plan.served_model import pinned_model, trained_model
from llmcloud.plan.serving import judge, trouble
from llmcloud.plan.stores import Missing, usable_store
from llmcloud.scaling.observation import Decision

NODES_SECONDS = 60.0
"""A node with the accelerator may have come by then."""
_KEPT = (
    "replicas",
    "readyReplicas",
    "desiredReplicas",
    "selector",
    "model",
    "adapters",
    "nodes",
    "scaling",
    "canary",
    "leases",
)


def plan_deployment(world: DeploymentWorld, defaults: PodDefaults) -> Plan:
    """The Deployments of the revisions that serve or are tried, with as many replicas as the load
    needs."""
    owner = world.owner
    if owner.deleting:
        return Plan()
    spec = parse(LLMDeploymentSpec, owner.spec)
    if isinstance(spec, str):
        judgement = Judgement(False, Reason.SPEC_INVALID, spec, stalled=True)
        return Plan(status=deployment_status(world, judgement, _kept(owner)))
    if spec.external is not None:
        return plan_external(world, spec, spec.external, defaults)
    model = _model(world, spec)
    if isinstance(model, Missing):
        return _waiting(world, model)
    engine = choose_engine(
        owner.name, spec, model.task, model.kind, defaults.catalogue, world.nodes
    )
    if isinstance(engine, Missing):
        return replace(_waiting(world, engine), requeue_seconds=NODES_SECONDS)
    decision = desired_replicas(spec, _current(owner, spec), world.scaling.decision)
    name = served_name(owner, spec)
    adapters = resolve_adapters(owner, spec, world.adapters, serving=bool(world.engines))
    wanted = engine_manifests(owner, spec, model, name, engine, adapters.stores, defaults)
    revision = revision_of(wanted.leader)
    nodes = _nodes(world, spec)
    rollout, asked = _roll_out(world, spec, model, revision, decision.replicas)
    children = engine_children(world, rollout, wanted, asked)
    told = _told(owner, model, revision, rollout, asked)
    members = {
        **_members(world, told, asked, decision, defaults),
        **lease_members(world, spec),
        **({"nodes": nodes} if nodes else {}),
        **({} if rollout.canary is None else {"canary": rollout.canary}),
    }
    marks = children.marks
    if spec.adapters:
        members["adapters"] = adapter_status(spec, adapters, world.pods, world.adapter_reports)
        marks = tell_pods(owner, world.pods, marks, adapters)
    extra, stale = fallback_children(world, spec, defaults)
    judgement = judge(world, name, rollout, asked, members)
    if spec.fallback is not None:
        judgement = told_with_fallback(world, judgement)
    return Plan(
        applies=(
            serving_policy(owner, defaults, _ports(world, spec), grouped=bool(nodes)),
            *marks, *children.engines, disruption_budget(owner), *extra,
        ),
        deletes=(*children.deletes, *stale),
        status=deployment_status(world, judgement, members),
        requeue_seconds=_look_again_seconds(world, spec, rollout, members),
    )  # fmt: skip


def _current(owner: Owner, spec: LLMDeploymentSpec) -> int:
    """The replicas that were wanted before; the fewest if there were none of this kind."""
    before: int = owner.status.get("desiredReplicas", 0) if "model" in owner.status else 0
    return before or spec.scaling.min_replicas


def _ports(world: DeploymentWorld, spec: LLMDeploymentSpec) -> set[int]:
    """Those of the replicas that there are and of those that are to come."""
    return {spec.engine.port or ENGINE_PORT, *(pod.port for pod in world.pods)}


def _nodes(world: DeploymentWorld, spec: LLMDeploymentSpec) -> int | None:
    """Of each replica; kept in the status as long as anything of several nodes is there."""
    if spec.nodes.max > 1:
        return spec.nodes.max
    before: int | None = world.owner.status.get("nodes")
    return before if world.followers else None


def _roll_out(
    world: DeploymentWorld,
    spec: LLMDeploymentSpec,
    model: ModelSource,
    revision: str,
    replicas: int,
) -> tuple[Rollout, dict[str, int]]:
    """Which revisions serve or are tried, and the replicas of each."""
    there = revision_views(world)
    problem = trouble(world, revision)
    look = Look(
        Wanted(revision, model.digest, model.training_job, world.owner.generation),
        spec.rollout.canary if spec.rollout else None,
        there,
        replicas,
        world.now,
        world.evidence,
        problem.message if problem else "",
    )
    rollout = decide(world.owner.status, look)
    return rollout, sizes(rollout, there, replicas)


def _look_again_seconds(
    world: DeploymentWorld, spec: LLMDeploymentSpec, rollout: Rollout, members: Manifest
) -> float | None:
    settings = spec.rollout.canary if spec.rollout else None
    late = next_late_seconds(world)
    moments = [
        look_again_seconds(rollout, settings, world.now, late),
        awaited_look_seconds(world),
    ]
    if unsettled(members.get("adapters", ()), world.pods):
        moments.append(LOOK_AGAIN_SECONDS)
    return min((moment for moment in moments if moment is not None), default=None)


def _waiting(world: DeploymentWorld, missing: Missing) -> Plan:
    stalled = missing.stalled
    judgement = Judgement(
        False, missing.reason, missing.message, stalled=stalled, reconciling=not stalled
    )
    return Plan(status=deployment_status(world, judgement, _kept(world.owner)))


def _model(world: DeploymentWorld, spec: LLMDeploymentSpec) -> ModelSource | Missing:
    if spec.model is None:
        return Missing(Reason.SPEC_INVALID, "spec: set exactly one of model, external")
    if spec.model.training_job is not None:
        return _trained_model(world, spec.model.training_job)
    if spec.model.store is None:
        return Missing(Reason.SPEC_INVALID, "spec.model: set exactly one of store, trainingJob")
    access = usable_store(spec.model.store.name, world.store, must_be_ready=not world.engines)
    if isinstance(access, Missing):
        return access
    path = spec.model.store.path
    return ModelSource(access, path, None, access.location.url(path))


def _trained_model(world: DeploymentWorld, which: TrainingJobModel) -> ModelSource | Missing:
    job = world.training_job
    model = trained_model(job) if job else None
    pinned = model or pinned_model(world.owner, which)
    if pinned is None:
        return _no_model(job, which)
    access = usable_store(pinned["store"], world.store, must_be_ready=not world.engines)
    if isinstance(access, Missing):
        return access
    return ModelSource(
        access,
        pinned["path"],
        pinned["digest"],
        pinned["url"],
        pinned["trainingJob"],
        pinned.get("task"),
        pinned.get("kind", "full"),
    )


def _no_model(job: Owner | None, which: TrainingJobModel) -> Missing:
    if which.name is None:
        return Missing(
            Reason.MODEL_NOT_READY,
            "No LLMTrainingJob of this namespace that model.trainingJob.selector selects has "
            "passed yet: wait for one, or correct the labels",
        )
    if job is None:
        return Missing(
            Reason.TRAINING_JOB_NOT_FOUND,
            f"LLMTrainingJob {which.name} does not exist in this namespace: create it",
        )
    said = job.condition(Condition.READY).get("message") or "it has not started"
    return Missing(Reason.MODEL_NOT_READY, f"LLMTrainingJob {which.name} has no model yet: {said}")


def _told(
    owner: Owner,
    model: ModelSource,
    revision: str,
    rollout: Rollout,
    asked: Mapping[str, int],
) -> Manifest:
    """`status.model`: that of the stable revision, which is the wanted one or was before."""
    pinned: Manifest = {
        "digest": model.digest,
        "trainingJob": model.training_job,
        "task": model.task,
        "url": model.url,
        "store": model.store.location.name,
        "path": model.path,
    }
    if rollout.stable != revision:
        before = owner.status["model"]
        pinned = {key: before.get(key) for key in pinned}
    told = {
        **pinned,
        "revision": rollout.stable,
        "replaces": [one for one in rollout.replaces if one in asked] or None,
        "rejected": rollout.rejected,
    }
    return {key: value for key, value in told.items() if value is not None}


def _members(
    world: DeploymentWorld,
    model: Manifest,
    asked: Mapping[str, int],
    decision: Decision,
    defaults: PodDefaults,
) -> Manifest:
    owner = world.owner
    return {
        "url": base_url(world, defaults.gateway_url),
        "replicas": sum(pod.phase in ("Pending", "Running") for pod in world.pods),
        "readyReplicas": sum(engine.ready for engine in world.engines if engine.revision in asked),
        "desiredReplicas": decision.replicas,
        "selector": ",".join(f"{k}={v}" for k, v in sorted(engine_selector(owner).items())),
        "model": model,
        "scaling": scaling_status(owner, decision, world.pods, world.scaling.start, world.now),
    }


def _kept(owner: Owner) -> Manifest:
    return {key: owner.status[key] for key in _KEPT if key in owner.status}
