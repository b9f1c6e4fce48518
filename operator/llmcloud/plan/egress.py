"""Deployments of somebody else's model, and the egress pods of fallbacks."""

from dataclasses import replace

from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.external import External
from llmcloud.api.names import Reason
from llmcloud.plan.conditions import Judgement
from llmcloud.plan.deployment_world import (
    DeploymentWorld,
    awaited_look_seconds,
    base_url,
    deployment_status,
    served_name,
)
from llmcloud.plan.egress_budget import budget_of, leases_of, tell_pods
from llmcloud.plan.failures import Problem, obstacle, serving_failure
from llmcloud.plan.manifests.egress import egress_deployment, egress_selector, serving_policy
from llmcloud.plan.model import Manifest, ObjectRef, Plan, PodDefaults
from llmcloud.plan.serving import route_problem


def plan_external(
    world: DeploymentWorld, spec: LLMDeploymentSpec, external: External, defaults: PodDefaults
) -> Plan:
    """The egress pod; engines of an earlier specification go."""
    owner = world.owner
    drain = spec.scaling.drain_seconds
    child = egress_deployment(owner, external, spec.pod, drain, defaults)
    url = base_url(world, defaults.gateway_url)
    members: Manifest = {
        "url": url,
        "replicas": sum(pod.phase in ("Pending", "Running") for pod in world.egress_pods),
        "readyReplicas": world.egress.ready if world.egress else 0,
        "desiredReplicas": 1,
        "selector": ",".join(f"{k}={v}" for k, v in sorted(egress_selector(owner).items())),
        **lease_members(world, spec),
    }
    return Plan(
        applies=(serving_policy(owner, defaults), child, *told_pods(world, spec)),
        deletes=tuple(one.ref for one in (*world.engines, *world.followers) if one.ref),
        status=deployment_status(world, _judge(world, spec, external, url), members),
        requeue_seconds=awaited_look_seconds(world),
    )


def lease_members(world: DeploymentWorld, spec: LLMDeploymentSpec) -> Manifest:
    """What status says of the budget of egress pods."""
    leases = leases_of(world.owner, budget_of(spec), world.egress_samples, world.now)
    return {"leases": [lease.wire() for lease in leases]} if leases else {}


def told_pods(world: DeploymentWorld, spec: LLMDeploymentSpec) -> tuple[Manifest, ...]:
    """The egress pods that are to be told what is recorded for them."""
    return tell_pods(world.owner, budget_of(spec), world.egress_pods)


def fallback_children(
    world: DeploymentWorld, spec: LLMDeploymentSpec, defaults: PodDefaults
) -> tuple[tuple[Manifest, ...], tuple[ObjectRef, ...]]:
    """What the fallback needs, and what is left of one that is no longer asked for."""
    if spec.fallback is not None:
        external, drain = spec.fallback.external, spec.scaling.drain_seconds
        child = egress_deployment(world.owner, external, spec.pod, drain, defaults)
        return (child, *told_pods(world, spec)), ()
    stale = world.egress.ref if world.egress else None
    return (), (stale,) if stale else ()


def told_with_fallback(world: DeploymentWorld, judgement: Judgement) -> Judgement:
    """A judgement of the replicas, and what keeps the egress pod of the fallback from answering.

    Requests are served without it, so Ready stays as it is.
    """
    problem = None if world.egress and world.egress.ready else _trouble(world)
    if problem is None:
        return judgement
    message = f"{judgement.message}. Its fallback does not answer: {problem.message}"
    judgement = replace(judgement, message=message)
    if judgement.reason not in (Reason.SERVING, Reason.SCALED_TO_ZERO):
        return judgement
    return replace(judgement, reason=problem.reason, reconciling=True)


def _trouble(world: DeploymentWorld) -> Problem | None:
    """What keeps the egress pod from being ready, if anything is known to."""
    refused = (world.egress.refused,) if world.egress and world.egress.refused else ()
    pods = tuple(pod for pod in world.egress_pods if pod.comes)
    return obstacle(() if refused else pods, refused) or serving_failure(pods)


def _judge(
    world: DeploymentWorld, spec: LLMDeploymentSpec, external: External, url: str
) -> Judgement:
    name = served_name(world.owner, spec)
    misrouted = route_problem(world, name)
    if misrouted is not None:
        return misrouted
    ready = world.egress.ready if world.egress else 0
    updated = world.egress.updated if world.egress else 0
    if min(ready, updated) > 0:
        return Judgement(True, Reason.SERVING, f"{name} answers on {url}")
    problem = _trouble(world)
    if problem is not None:
        return Judgement(ready > 0, problem.reason, problem.message, reconciling=True)
    reference = external.api_key_secret_ref
    secret = f": it needs the key {reference.key} of Secret {reference.name}" if reference else ""
    message = f"The egress pod is not ready{secret}"
    return Judgement(ready > 0, Reason.REPLICAS_NOT_READY, message, reconciling=True)
