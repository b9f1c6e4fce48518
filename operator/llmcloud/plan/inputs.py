"""What a training job refers to, and what of it an attempt needs."""

from dataclasses import dataclass
from datetime import datetime

from llmcloud.api.contract import Progress
from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.names import Condition, Reason
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.accelerators import NodeLabels
from llmcloud.plan.children import JobView, PodView
from llmcloud.plan.manifests.trainer import Inputs
from llmcloud.plan.model import Owner, parse
from llmcloud.plan.stores import Missing, usable_store


@dataclass(frozen=True)
class TrainingWorld:
    """An LLMTrainingJob, what it refers to (None: missing), its Jobs, pods and report."""

    owner: Owner
    dataset: Owner | None
    stores: tuple[tuple[str, Owner | None], ...]
    jobs: tuple[JobView, ...]
    now: datetime
    pods: tuple[PodView, ...] = ()
    progress: Progress | None = None
    nodes: NodeLabels | None = ()
    """None: this installation may not list nodes."""
    room: JobView | None = None
    """The Job that asks for more nodes; none of `jobs`."""

    @property
    def recorded(self) -> int:
        """The highest number of an attempt that status or a pod tells of."""
        known = int(self.owner.status.get("attempt") or 0)
        return max([known, *(pod.attempt for pod in self.pods)])


def pinned_version(world: TrainingWorld) -> str:
    """Status first, then the Job (a crash may lie between), then the request, then the newest."""
    pinned = (world.owner.status.get("inputs") or {}).get("datasets") or []
    if pinned:
        return str(pinned[0]["version"])
    for job in reversed(world.jobs):
        if job.dataset_version:
            return job.dataset_version
    wanted = world.owner.spec["datasets"][0].get("version")
    newest = world.dataset.status.get("version") if world.dataset else None
    return str(wanted or newest or "")


def inputs_of(world: TrainingWorld, spec: LLMTrainingJobSpec) -> Inputs | Missing:
    """What an attempt needs, or what must come first."""
    name = spec.datasets[0].name
    if world.dataset is None:
        return Missing(
            Reason.DATASET_NOT_FOUND,
            f"LLMDataset {name} does not exist in this namespace: create it",
        )
    version = pinned_version(world)
    dataset_spec = parse(LLMDatasetSpec, world.dataset.spec)
    if not version or isinstance(dataset_spec, str):
        said = world.dataset.condition(Condition.READY).get("message") or "it is being prepared"
        return Missing(
            Reason.DATASET_NOT_READY, f"LLMDataset {name} has no version to train on yet: {said}"
        )
    stores = dict(world.stores)
    accesses = []
    for store in (dataset_spec.output.store.name, spec.output.store.name):
        access = usable_store(store, stores.get(store))
        if isinstance(access, Missing):
            return access
        accesses.append(access)
    return Inputs(version, name, dataset_spec.output.store.path, *accesses)
