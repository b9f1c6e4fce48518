"""What is known of a training job when its next step is planned."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from llmcloud.api.contract import Progress
from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.model import TrainingJobModel
from llmcloud.api.names import Condition
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.api.training_status import PinnedModel
from llmcloud.plan.accelerators import NodeLabels
from llmcloud.plan.children import JobView, PodView
from llmcloud.plan.model import Manifest, Owner, parse


@dataclass(frozen=True)
class TrainingWorld:
    """An LLMTrainingJob, what it refers to (None: missing), its Jobs, pods and report.

    `datasets`: those that it names and that there are. `trainings`: jobs whose models it names or
    selects.
    """

    owner: Owner
    datasets: tuple[Owner, ...]
    stores: tuple[tuple[str, Owner | None], ...]
    jobs: tuple[JobView, ...]
    now: datetime
    pods: tuple[PodView, ...] = ()
    progress: Progress | None = None
    nodes: NodeLabels | None = ()
    """None: this installation may not list nodes."""
    room: JobView | None = None
    """The Job that asks for more nodes; none of `jobs`."""
    trainings: tuple[Owner, ...] = ()
    crowd: int = 1
    """Objects whose pods are awaited."""
    rival: str = ""
    """The job that has this job's output before it."""

    @property
    def recorded(self) -> int:
        """The highest number of an attempt that status or a pod tells of."""
        known = int(self.owner.status.get("attempt") or 0)
        return max([known, *(pod.attempt for pod in self.pods)])


def model_references(spec: LLMTrainingJobSpec) -> tuple[TrainingJobModel, ...]:
    """The jobs whose models are used."""
    teacher = spec.distill.teacher.training_job if spec.distill else None
    return tuple(job for job in (spec.model.training_job, teacher) if job is not None)


def dataset_names(spec: LLMTrainingJobSpec) -> tuple[str, ...]:
    """The datasets that are learned from or judged by, each once."""
    judged = spec.evaluation.dataset if spec.evaluation else None
    named = [*spec.datasets, *([judged] if judged else [])]
    return tuple(dict.fromkeys(dataset.name for dataset in named))


def store_names(spec: LLMTrainingJobSpec, world: TrainingWorld) -> tuple[str, ...]:
    """The stores that an attempt reads or writes, as far as they are known."""
    names = [spec.output.store.name]
    for dataset in world.datasets:
        dataset_spec = parse(LLMDatasetSpec, dataset.spec)
        if isinstance(dataset_spec, LLMDatasetSpec):
            names.append(dataset_spec.output.store.name)
    references = [spec.model.store, spec.distill.teacher.store if spec.distill else None]
    names += [reference.name for reference in references if reference is not None]
    pins = pinned(world)
    names += [
        pins[role]["store"] for role in ("model", "teacher") if pins.get(role, {}).get("store")
    ]
    names += [job.spec["output"]["store"]["name"] for job in world.trainings]
    return tuple(dict.fromkeys(names))


def pinned(world: TrainingWorld) -> Manifest:
    """What an earlier attempt began with: by the status, else by the Job (a crash may lie
    between); empty before the first."""
    status: Manifest = world.owner.status.get("inputs") or {}
    if status:
        return status
    return next((job.inputs for job in reversed(world.jobs) if job.inputs), {})


def as_loaded(pins: Manifest, world: TrainingWorld, told: Progress | None) -> Manifest:
    """Pins with what a pod found where nobody knew it before: the commit of a hub's model, the
    digest of a folder's files. What was told once stays; the store has it too, and decides."""
    known: Manifest = world.owner.status.get("inputs") or {}
    loaded = (told.models if told is not None else None) or {}
    found = dict(pins)
    for role in ("model", "teacher"):
        pin: Manifest = pins.get(role) or {}
        if not pin or pin.get("digest"):
            continue
        said = {"url": loaded.get(role), "digest": loaded.get(f"{role}Digest")}
        try:
            found[role] = PinnedModel.model_validate(pin | said).wire()
        except ValidationError:
            found[role] = known.get(role) or pin
    return found


def rival_of(owner: Owner, others: list[Owner]) -> str:
    """Of jobs with one output the first that has not ended: one that has begun, then the oldest.
    Its name; empty if that is this job itself."""

    def rank(job: Owner) -> tuple[bool, str, str]:
        return (not job.status.get("attempt"), job.created, job.name)

    ended = (Condition.COMPLETE, Condition.FAILED)
    live = [o for o in others if all(o.condition(c).get("status") != "True" for c in ended)]
    first = min([owner, *live], key=rank)
    return "" if first.name == owner.name else first.name
