"""How many nodes an attempt has: as many as there are, between `nodes.min` and `nodes.max`.

The global batch is the same at any size, so a size must divide it. An attempt never changes its
size: another size is another attempt, which goes on from the last checkpoint. It begins with the
largest; one whose pods have nodes only in part is followed by a smaller one, and where a smaller
one runs, a Job of pods that do nothing (`room`) asks for the nodes that are missing.
"""

from dataclasses import dataclass
from datetime import datetime

from llmcloud.api.names import Reason
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.children import JobView, PodView
from llmcloud.plan.stores import Missing

SHRINK_SECONDS = 20.0
"""So long after the last pod got a node, the others are no longer waited for."""
GROW_SECONDS = 60.0
"""So old is an attempt before a larger one is tried."""
ROOM = "room"


def sizes(spec: LLMTrainingJobSpec) -> tuple[int, ...]:
    """The numbers of nodes that divide the global batch evenly, the largest first."""
    if spec.hyperparameters is None:  # nothing is learned, by one pod
        return (1,)
    devices = spec.resources.count or 1
    wanted = range(spec.nodes.max, spec.nodes.min - 1, -1)
    batch = spec.hyperparameters.global_batch_size
    return tuple(size for size in wanted if batch % (size * devices) == 0)


def size_refusal(spec: LLMTrainingJobSpec) -> Missing | None:
    """Why no number of nodes fits; None if one does."""
    if sizes(spec) or spec.hyperparameters is None:
        return None
    return Missing(
        Reason.SPEC_INVALID,
        f"No number of nodes between {spec.nodes.min} and {spec.nodes.max}, each with "
        f"{spec.resources.count or 1} processes, divides "
        f"spec.hyperparameters.globalBatchSize {spec.hyperparameters.global_batch_size}: choose "
        "a multiple.",
        stalled=True,
    )


def _fitting(spec: LLMTrainingJobSpec, nodes: int) -> int | None:
    return next((size for size in sizes(spec) if size <= nodes), None)


def _placed(pods: tuple[PodView, ...]) -> list[PodView]:
    return [pod for pod in pods if pod.scheduled is not None or pod.phase != "Pending"]


@dataclass(frozen=True)
class Resize:
    """Another number of nodes, at once or after `wait_seconds`."""

    nodes: int
    wait_seconds: float


def smaller(spec: LLMTrainingJobSpec, job: JobView | None, now: datetime) -> Resize | None:
    """The size that fits the nodes which the job's pods got, if some pods get none."""
    if job is None or not any(pod.unschedulable for pod in job.pods):
        return None
    placed = _placed(job.pods)
    nodes = _fitting(spec, len(placed))
    if nodes is None or nodes >= job.nodes:
        return None
    since = max([job.created, *(pod.scheduled for pod in placed if pod.scheduled)])
    waited_seconds = (now - since).total_seconds()
    return Resize(nodes, max(0.0, SHRINK_SECONDS - waited_seconds))


def first_size(spec: LLMTrainingJobSpec, room: JobView | None) -> int:
    """The size of an attempt that starts: with the room that was found, else the largest."""
    found = _fitting(spec, room.base + len(_placed(room.pods))) if room is not None else None
    return found or sizes(spec)[0]


def wants_room(spec: LLMTrainingJobSpec, job: JobView, now: datetime) -> float | None:
    """Seconds until missing nodes are asked for; None if the job has all that it may have."""
    if job.nodes >= sizes(spec)[0]:
        return None
    return max(0.0, GROW_SECONDS - (now - job.created).total_seconds())


def outgrown(spec: LLMTrainingJobSpec, job: JobView, room: JobView | None) -> bool:
    """Whether the running job should give way to one of another size."""
    if job.nodes not in sizes(spec):
        return True
    return room is not None and room.base == job.nodes and first_size(spec, room) > job.nodes
