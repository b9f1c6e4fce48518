"""LLMDeployment: pin a model, keep its replicas, follow the load, tell the truth."""

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
    EngineView,
    base_url,
    deployment_status,
    served_name,
)
from llmcloud.plan.draining import deletion_costs, disruption_budget
from llmcloud.plan.egress import fallback_children, lease_members, plan_external
from llmcloud.plan.engines import choose_engine
from llmcloud.plan.failures import Problem, obstacle, serving_failure
from llmcloud.plan.manifests.egress import serving_policy
from llmcloud.plan.manifests.engine import (
    ModelSource,
    engine_deployment,
    engine_selector,
)
from llmcloud.plan.model import Manifest, Owner, Plan, PodDefaults, parse
from llmcloud.plan.served_model import pinned_model, trained_model
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
    "scaling",
    "leases",
)


def plan_deployment(world: DeploymentWorld, defaults: PodDefaults) -> Plan:
    """The engine's Deployment for the pinned model, with as many replicas as the load needs."""
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
    engine = choose_engine(spec, model.task, model.kind, defaults.catalogue, world.nodes)
    if isinstance(engine, Missing):
        return replace(_waiting(world, engine), requeue_seconds=NODES_SECONDS)
    current = world.engine.replicas if world.engine else spec.scaling.min_replicas
    decision = desired_replicas(spec, current, world.scaling.decision)
    name = served_name(owner, spec)
    adapters = resolve_adapters(owner, spec, world.adapters, serving=world.engine is not None)
    child = engine_deployment(
        owner, spec, model, name, decision.replicas, engine, adapters.stores, defaults
    )
    members = _members(world, spec, model, decision, defaults)
    if spec.adapters:
        members["adapters"] = adapter_status(spec, adapters, world.pods, world.adapter_reports)
    judgement = _judge(world, name, decision, members)
    costs: tuple[Manifest, ...] = ()
    if decision.replicas < current:
        costs = deletion_costs(owner, world.pods, world.scaling.loads, decision.replicas)
    if spec.adapters:
        costs = tell_pods(owner, world.pods, costs, adapters)
    on_the_way = unsettled(members.get("adapters", ()), world.pods)
    extra, stale = fallback_children(world, spec, defaults)
    return Plan(
        applies=(
            serving_policy(owner, defaults, spec.engine.port or ENGINE_PORT),
            *costs, child, disruption_budget(owner), *extra,
        ),
        deletes=stale,
        status=deployment_status(world, judgement, members),
        requeue_seconds=LOOK_AGAIN_SECONDS if on_the_way else None,
    )  # fmt: skip


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
    access = usable_store(spec.model.store.name, world.store, must_be_ready=world.engine is None)
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
    access = usable_store(pinned["store"], world.store, must_be_ready=world.engine is None)
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


def _members(
    world: DeploymentWorld,
    spec: LLMDeploymentSpec,
    model: ModelSource,
    decision: Decision,
    defaults: PodDefaults,
) -> Manifest:
    owner = world.owner
    engine = world.engine or EngineView(0, 0, "", 0)
    pinned = {
        "digest": model.digest,
        "trainingJob": model.training_job,
        "task": model.task,
        "url": model.url,
        "store": model.store.location.name,
        "path": model.path,
    }
    return {
        **lease_members(world, spec),
        "url": base_url(world, defaults.gateway_url),
        "replicas": sum(pod.phase in ("Pending", "Running") for pod in world.pods),
        "readyReplicas": engine.ready,
        "desiredReplicas": decision.replicas,
        "selector": ",".join(f"{k}={v}" for k, v in sorted(engine_selector(owner).items())),
        "model": {key: value for key, value in pinned.items() if value is not None},
        "scaling": scaling_status(owner, decision, world.pods, world.scaling.start, world.now),
    }


def _judge(world: DeploymentWorld, name: str, decision: Decision, members: Manifest) -> Judgement:
    if world.name_taken_by:
        return Judgement(
            False,
            Reason.ROUTE_CONFLICT,
            f"The older LLMDeployment {world.name_taken_by} serves {name} on /v1. This one "
            f"answers on /ns/{world.owner.namespace}/v1; choose another servedModelName",
            stalled=True,
        )
    engine = world.engine or EngineView(0, 0, "", 0)
    ready = engine.ready
    if decision.replicas == 0:
        return Judgement(
            True, Reason.SCALED_TO_ZERO, "No replica runs; the first request starts one"
        )
    if min(ready, engine.updated) >= decision.replicas:
        return Judgement(True, Reason.SERVING, f"{name} answers on {members['url']}")
    problem = _trouble(world, engine)
    if problem is not None:
        return Judgement(ready > 0, problem.reason, problem.message, reconciling=True)
    serving = min(ready, engine.updated)
    message = f"{serving} of {decision.replicas} replicas are ready as specified"
    return Judgement(
        ready > 0,
        Reason.REPLICAS_NOT_READY,
        message,
        reconciling=ready == 0 or engine.updated < ready,
    )


def _trouble(world: DeploymentWorld, engine: EngineView) -> Problem | None:
    refused = (engine.refused,) if engine.refused else ()
    pods = tuple(pod for pod in world.pods if not pod.ready and not pod.deleting)
    return obstacle(() if refused else pods, refused) or serving_failure(pods)


def _kept(owner: Owner) -> Manifest:
    return {key: owner.status[key] for key in _KEPT if key in owner.status}
