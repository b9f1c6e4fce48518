"""What is said of a deployment's replicas, and of the revision that is tried beside them."""

from collections.abc import Mapping

from llmcloud.api.names import Reason
from llmcloud.plan.conditions import Judgement
from llmcloud.plan.deployment_world import DeploymentWorld
from llmcloud.plan.failures import Problem, obstacle, serving_failure
from llmcloud.plan.model import Manifest
from llmcloud.plan.rollout import Rollout


def judge(
    world: DeploymentWorld,
    name: str,
    rollout: Rollout,
    asked: Mapping[str, int],
    members: Manifest,
) -> Judgement:
    """The Ready condition, for a served `name`; `asked`: replicas by revision."""
    misrouted = route_problem(world, name)
    if misrouted is not None:
        return misrouted
    replicas: int = members["desiredReplicas"]
    if replicas == 0:
        return Judgement(
            True, Reason.SCALED_TO_ZERO, "No replica runs; the first request starts one"
        )
    ready = {engine.revision: engine.ready for engine in world.engines}
    stable = ready.get(rollout.stable, 0)
    old = sum(ready.get(revision, 0) for revision in rollout.replaces)
    replaced = not any(revision in asked for revision in rollout.replaces)
    if rollout.canary is not None and stable + old >= asked[rollout.stable]:
        return _of_the_canary(world, rollout.canary)
    if replaced and stable >= asked[rollout.stable]:
        return _settled(name, members["url"], rollout)
    problem = trouble(world, rollout.stable)
    if problem is not None:
        return Judgement(stable + old > 0, problem.reason, problem.message, reconciling=True)
    message = f"{stable} of {replicas} replicas are ready as specified"
    return Judgement(
        stable + old > 0,
        Reason.REPLICAS_NOT_READY,
        message,
        reconciling=stable == 0 or not replaced,
    )


def route_problem(world: DeploymentWorld, name: str) -> Judgement | None:
    """What is said of one that has no route, or not the served `name` on /v1."""
    if world.unrouted:
        return Judgement(False, Reason.ROUTE_TOO_LARGE, world.unrouted, stalled=True)
    if not world.name_taken_by:
        return None
    return Judgement(
        False,
        Reason.ROUTE_CONFLICT,
        f"The older LLMDeployment {world.name_taken_by} serves {name} on /v1. This one "
        f"answers on /ns/{world.owner.namespace}/v1; choose another servedModelName",
        stalled=True,
    )


def _settled(name: str, url: str, rollout: Rollout) -> Judgement:
    if rollout.rejected is None:
        return Judgement(True, Reason.SERVING, f"{name} answers on {url}")
    return Judgement(
        True,
        Reason.CANARY_REJECTED,
        f"{name} answers on {url} with revision {rollout.stable}. Revision "
        f"{rollout.rejected['revision']} was rolled back: {rollout.rejected['message']}. It is "
        "not tried again: correct the specification or train another model",
        stalled=True,
    )


def _of_the_canary(world: DeploymentWorld, canary: Manifest) -> Judgement:
    revision, weight = canary["revision"], canary["weight"]
    made_by = (
        f" (model of LLMTrainingJob {canary['trainingJob']})" if "trainingJob" in canary else ""
    )
    if "stepStartTime" in canary:
        message = f"Revision {revision}{made_by} is tried with {weight} % of the requests"
    else:
        problem = trouble(world, revision)
        why = f": {problem.message}" if problem else ""
        message = f"Revision {revision}{made_by} is to be tried and has no ready replica yet{why}"
    return Judgement(True, Reason.CANARY, message, reconciling=True)


def trouble(world: DeploymentWorld, revision: str) -> Problem | None:
    """What keeps replicas of a revision from being ready, if anything is known to."""
    sets = (*world.engines, *world.followers)
    refused = tuple(one.refused for one in sets if one.revision == revision and one.refused)
    replicas = (*world.pods, *world.workers)
    pods = tuple(pod for pod in replicas if pod.revision == revision and pod.comes)
    return obstacle(() if refused else pods, refused) or serving_failure(pods)
