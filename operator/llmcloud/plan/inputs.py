"""What an attempt is made of: dataset versions, models and stores, found once and then pinned."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from llmcloud.api.common import SecretKeyReference
from llmcloud.api.contract import (
    HUB_PATH,
    Architecture,
    DatasetInput,
    HubInput,
    ModelInput,
    Progress,
    StoredModel,
)
from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.model import (
    DATASET_TYPES,
    ModelReference,
    TrainingJobModel,
    TrainingModel,
)
from llmcloud.api.names import Condition, Reason
from llmcloud.api.training import DatasetReference, LLMTrainingJobSpec
from llmcloud.api.training_status import PinnedModel
from llmcloud.plan.accelerators import NodeLabels
from llmcloud.plan.children import JobView, PodView
from llmcloud.plan.fitting import length_refusal
from llmcloud.plan.mixture import mixture_refusal
from llmcloud.plan.model import Manifest, Owner, parse
from llmcloud.plan.served_model import no_model, passing, trained_model
from llmcloud.plan.stores import Missing, StoreAccess, usable_store


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


@dataclass(frozen=True)
class DatasetAccess:
    """A dataset version and how a pod reads it."""

    input: DatasetInput
    store: StoreAccess
    spec: LLMDatasetSpec
    tokenizer_digest: str | None
    """None where it is not known: of versions but the newest."""

    @property
    def pin(self) -> Manifest:
        return {"name": self.input.name, "version": self.input.version}


@dataclass(frozen=True)
class ModelAccess:
    """A model and how a pod reads it. One from scratch has neither pin nor store."""

    input: ModelInput
    pin: PinnedModel | None = None
    store: StoreAccess | None = None
    token: SecretKeyReference | None = None


@dataclass(frozen=True)
class Inputs:
    """What an attempt needs besides the specification."""

    datasets: tuple[DatasetAccess, ...]
    evaluation: DatasetAccess | None
    model: ModelAccess
    teacher: ModelAccess | None
    output: StoreAccess

    @property
    def stores(self) -> tuple[StoreAccess, ...]:
        parts = (*self.datasets, self.evaluation, self.model, self.teacher)
        found = [part.store for part in parts if part is not None and part.store is not None]
        return (*found, self.output)

    @property
    def pins(self) -> Manifest:
        """As `status.inputs` has them, and a Job's annotation."""
        pins: Manifest = {"datasets": [dataset.pin for dataset in self.datasets]}
        if self.evaluation is not None:
            pins["evaluation"] = self.evaluation.pin
        for role, model in (("model", self.model), ("teacher", self.teacher)):
            if model is not None and model.pin is not None:
                pins[role] = model.pin.wire()
        return pins


class _Unmet(Exception):
    """Something must come first, or does not fit."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing.message)
        self.missing = missing


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


def resolve(world: TrainingWorld, spec: LLMTrainingJobSpec) -> Inputs | Missing:
    """All inputs, or what must come first or does not fit."""
    try:
        inputs = _resolve(world, spec)
        _check_complete(inputs, spec)
        _check_alike(inputs)
        _check_vocabularies(inputs, spec)
    except _Unmet as unmet:
        return unmet.missing
    return inputs


def rival_of(owner: Owner, others: list[Owner]) -> str:
    """Of jobs with one output the first that has not ended: one that has begun, then the oldest.
    Its name; empty if that is this job itself."""

    def rank(job: Owner) -> tuple[bool, str, str]:
        return (not job.status.get("attempt"), job.created, job.name)

    ended = (Condition.COMPLETE, Condition.FAILED)
    live = [o for o in others if all(o.condition(c).get("status") != "True" for c in ended)]
    first = min([owner, *live], key=rank)
    return "" if first.name == owner.name else first.name


def _check_output(world: TrainingWorld, spec: LLMTrainingJobSpec) -> None:
    """Two jobs that write to one place take it from each other, or the one's work is lost."""
    if world.rival and not world.jobs:
        store = spec.output.store
        sentence = (
            f"The path {store.path} of ObjectStore {store.name} is the output of LLMTrainingJob "
            f"{world.rival}, which has not ended: choose another spec.output.store.path, or delete "
            "one of the two jobs"
        )
        raise _Unmet(Missing(Reason.OUTPUT_OCCUPIED, sentence, stalled=True))


def _resolve(world: TrainingWorld, spec: LLMTrainingJobSpec) -> Inputs:
    _check_output(world, spec)
    pins = pinned(world)
    known = {pin["name"]: pin for pin in pins.get("datasets") or []}
    # By name: to the API server the order of a list of names is nothing that changes it.
    learned = sorted(spec.datasets, key=lambda dataset: dataset.name)
    evaluation = None
    if spec.evaluation is not None and spec.evaluation.dataset is not None:
        judged = spec.evaluation.dataset
        evaluation = _dataset(world, spec, judged, pins.get("evaluation") or {})
    teacher = None
    if spec.distill is not None:
        teacher = _model(world, spec, spec.distill.teacher, "teacher", pins)
    return Inputs(
        tuple(_dataset(world, spec, one, known.get(one.name, {}), one.weight) for one in learned),
        evaluation,
        _model(world, spec, spec.model, "model", pins),
        teacher,
        _store(world, spec.output.store.name),
    )


def _check_complete(inputs: Inputs, spec: LLMTrainingJobSpec) -> None:
    if not inputs.datasets and (spec.method != "evaluate" or inputs.evaluation is None):
        sentence = "spec.datasets is empty: name what is learned from"
        raise _Unmet(Missing(Reason.SPEC_INVALID, sentence, stalled=True))


def _check_alike(inputs: Inputs) -> None:
    known = [(one.input.name, one.spec, one.tokenizer_digest) for one in inputs.datasets]
    refusal = mixture_refusal(known)
    if refusal is not None:
        raise _Unmet(refusal)


def _store(world: TrainingWorld, name: str) -> StoreAccess:
    access = usable_store(name, dict(world.stores).get(name))
    if isinstance(access, Missing):
        raise _Unmet(access)
    return access


def _dataset(
    world: TrainingWorld,
    spec: LLMTrainingJobSpec,
    reference: DatasetReference,
    known: Manifest,
    weight: float = 1.0,
) -> DatasetAccess:
    name = reference.name
    dataset = next((one for one in world.datasets if one.name == name), None)
    if dataset is None:
        sentence = f"LLMDataset {name} does not exist in this namespace: create it"
        raise _Unmet(Missing(Reason.DATASET_NOT_FOUND, sentence))
    newest = dataset.status.get("version")
    version = known.get("version") or reference.version or newest
    dataset_spec = parse(LLMDatasetSpec, dataset.spec)
    if not version or isinstance(dataset_spec, str):
        said = dataset.condition(Condition.READY).get("message") or "it is being prepared"
        sentence = f"LLMDataset {name} has no version to use yet: {said}"
        raise _Unmet(Missing(Reason.DATASET_NOT_READY, sentence))
    leaving = (dataset.status.get("dropping") or {}).get("versions", ())
    if version in leaving and version != known.get("version"):
        sentence = (
            f"Version {version[:19]} of LLMDataset {name} is about to be removed, by its "
            "spec.keepVersions: it comes back if nothing of it is gone, else name another"
        )
        raise _Unmet(Missing(Reason.DATASET_NOT_READY, sentence))
    wanted = DATASET_TYPES[spec.task]
    if dataset_spec.type not in wanted:
        sentence = (
            f"LLMDataset {name} is of type {dataset_spec.type}, and spec.task {spec.task} needs "
            f"{' or '.join(wanted)}: choose another dataset or another task"
        )
        raise _Unmet(Missing(Reason.DATASET_UNSUITABLE, sentence, stalled=True))
    too_long = length_refusal(spec, name, dataset_spec)
    if too_long is not None:
        raise _Unmet(too_long)
    access = _store(world, dataset_spec.output.store.name)
    path = dataset_spec.output.store.path
    tokenizer = (dataset.status.get("tokenizer") or {}).get("digest")
    return DatasetAccess(
        DatasetInput(store=access.location, path=path, name=name, version=version, weight=weight),
        access,
        dataset_spec,
        tokenizer if version == newest else None,
    )


def _model(
    world: TrainingWorld,
    spec: LLMTrainingJobSpec,
    reference: TrainingModel | ModelReference,
    role: str,
    pins: Manifest,
) -> ModelAccess:
    if reference.hub is not None:
        hub = reference.hub
        token_file = f"{HUB_PATH}/{role}/token" if hub.token_secret_ref else None
        source = HubInput(name=hub.name, revision=hub.revision, token_file=token_file)
        pin = PinnedModel(url=f"hf://{hub.name}@{hub.revision}")
        return ModelAccess(ModelInput(hub=source), pin, token=hub.token_secret_ref)
    if reference.store is not None:
        access = _store(world, reference.store.name)
        path = reference.store.path
        pin = PinnedModel(url=access.location.url(path), store=reference.store.name, path=path)
        return _stored(access, pin)
    if reference.training_job is not None:
        known = pins.get(role)
        if known:
            pin = PinnedModel.model_validate(known)
        else:
            pin = _trained(world, spec, reference.training_job, role)
        assert pin.store is not None, "a job's model lies in a store"
        return _stored(_store(world, pin.store), pin)
    architecture = reference.architecture if isinstance(reference, TrainingModel) else None
    if architecture is None:
        sentence = f"spec names no {role}: set exactly one member of its model"
        raise _Unmet(Missing(Reason.SPEC_INVALID, sentence, stalled=True))
    return ModelAccess(ModelInput(architecture=Architecture.model_validate(architecture.wire())))


def _stored(access: StoreAccess, pin: PinnedModel) -> ModelAccess:
    stored = StoredModel(
        store=access.location,
        path=pin.path or "",
        digest=pin.digest,
        tokenizer_digest=pin.tokenizer_digest,
    )
    return ModelAccess(ModelInput(stored=stored), pin, access)


def _trained(
    world: TrainingWorld, spec: LLMTrainingJobSpec, reference: TrainingJobModel, role: str
) -> PinnedModel:
    job = passing(world.trainings, reference)
    model = trained_model(job) if job else None
    if job is None or model is None:
        raise _Unmet(no_model(job, reference))
    if model.get("kind", "full") != "full":
        sentence = (
            f"The model of LLMTrainingJob {job.name} is an adapter, which {role} cannot be: train "
            "it again with spec.lora.merge true"
        )
        raise _Unmet(Missing(Reason.MODEL_UNSUITABLE, sentence, stalled=True))
    task = job.spec["task"]
    if task != spec.task and (role == "teacher" or spec.method == "evaluate"):
        sentence = (
            f"The {role} of LLMTrainingJob {job.name} does {task}, and spec.task is {spec.task}: "
            f"choose another {role} or another task"
        )
        raise _Unmet(Missing(Reason.MODEL_UNSUITABLE, sentence, stalled=True))
    return PinnedModel.model_validate(model)


def _check_vocabularies(inputs: Inputs, spec: LLMTrainingJobSpec) -> None:
    """What the pinned digests can tell; the pod compares the vocabularies themselves."""
    found = (dataset.tokenizer_digest for dataset in inputs.datasets)
    of_dataset = next(filter(None, found), None)
    of_model = inputs.model.pin.tokenizer_digest if inputs.model.pin else None
    from_scratch = inputs.model.input.architecture is not None
    packed = DATASET_TYPES[spec.task][0] == "text"
    if packed and of_dataset and of_model and of_dataset != of_model:
        raise _Unmet(
            Missing(
                Reason.VOCABULARY_MISMATCH,
                f"LLMDataset {spec.datasets[0].name} has another vocabulary than spec.model: "
                "prepare it with the tokenizer of the model (spec.tokenizer.model)",
                stalled=True,
            )
        )
    of_student = of_dataset if from_scratch else of_model
    of_teacher = (
        inputs.teacher.pin.tokenizer_digest if inputs.teacher and inputs.teacher.pin else None
    )
    if of_student and of_teacher and of_student != of_teacher:
        raise _Unmet(
            Missing(
                Reason.VOCABULARY_MISMATCH,
                "The teacher has another vocabulary than the student: choose a "
                "spec.distill.teacher that was trained with the same tokenizer",
                stalled=True,
            )
        )
