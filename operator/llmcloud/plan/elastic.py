"""An attempt that gives way to another: elsewhere, smaller, larger; and what is in between."""

from dataclasses import replace
from datetime import timedelta

from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.attempts import Attempt, State, moved_attempt
from llmcloud.plan.avoidance import given_up_seconds
from llmcloud.plan.group import first_size, sizes, smaller, wants_room
from llmcloud.plan.manifests.room import room_job
from llmcloud.plan.model import Manifest, ObjectRef, PodDefaults
from llmcloud.plan.placement import Scheduling, next_move, schedule
from llmcloud.plan.stores import Missing
from llmcloud.plan.training_world import TrainingWorld

LATE_SECONDS = 15.0
"""A pod that is there so long after its grace period is on a lost node."""


def relocated(
    world: TrainingWorld, spec: LLMTrainingJobSpec, attempt: Attempt
) -> tuple[Attempt, float | None]:
    """The attempt, or the one that takes its place because its pods get no nodes; the seconds
    until that may be so."""
    if attempt.state is State.START:
        nodes = attempt.nodes if attempt.nodes > 1 else first_size(spec, world.room)
        return replace(attempt, nodes=nodes), None
    if attempt.job is None or not attempt.job.active:
        return attempt, None
    fitting = smaller(spec, attempt.job, world.now)
    move = next_move(spec.placement, attempt.job, world.now)
    given_up = given_up_seconds(attempt.job, world.now)
    elsewhere = attempt
    if fitting is not None:
        place, nodes, wait_seconds = attempt.place, fitting.nodes, fitting.wait_seconds
    elif given_up is not None:
        place, nodes, wait_seconds = attempt.place, attempt.job.nodes, given_up
        elsewhere = replace(attempt, avoided=())
    elif move is not None:
        place, nodes, wait_seconds = move.place, sizes(spec)[0], move.wait_seconds
    else:
        return attempt, None
    if wait_seconds:
        return attempt, wait_seconds
    return moved_attempt(elsewhere, world.jobs, world.recorded, place, nodes), None


def is_stopping(world: TrainingWorld) -> bool:
    """Whether a pod may still write a checkpoint. A lost node's pod is not waited for."""
    return any(
        pod.phase == "Running"
        and pod.gone_by is not None
        and world.now < pod.gone_by + timedelta(seconds=LATE_SECONDS)
        for pod in world.pods
    )


def stale_room(world: TrainingWorld, attempt: int | None) -> tuple[ObjectRef, ...]:
    """The Job that asks for nodes, unless it does so for this attempt and still does."""
    room = world.room
    if room is None or room.deleting or (room.attempt == attempt and room.active):
        return ()
    return (room.ref,)


def room_of(
    world: TrainingWorld, spec: LLMTrainingJobSpec, attempt: Attempt, defaults: PodDefaults
) -> tuple[Manifest, ...]:
    """The Job that asks for missing nodes, once the attempt has run for a while."""
    assert attempt.job is not None
    if world.room is not None or wants_room(spec, attempt.job, world.now) != 0:
        return ()
    scheduling = scheduling_of(world, spec, attempt, defaults)
    if isinstance(scheduling, Missing):
        return ()
    missing = sizes(spec)[0] - attempt.job.nodes
    return (room_job(world.owner, spec, attempt, missing, scheduling, defaults),)


def scheduling_of(
    world: TrainingWorld, spec: LLMTrainingJobSpec, attempt: Attempt, defaults: PodDefaults
) -> Scheduling | Missing:
    """Where the attempt's pods run."""
    placement = [spec.placement[attempt.place]] if spec.placement else []
    return schedule(spec.resources, placement, defaults.catalogue, world.nodes)
