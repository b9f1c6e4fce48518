"""What an attempt is made of: dataset versions, models and stores, found once and then pinned."""

from dataclasses import dataclass

from llmcloud.api.common import SecretKeyReference
from llmcloud.api.contract import (
    HUB_PATH,
    Architecture,
    DatasetInput,
    HubInput,
    ModelInput,
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
from llmcloud.plan.fitting import length_refusal
from llmcloud.plan.mixture import mixture_refusal
from llmcloud.plan.model import Manifest, parse
from llmcloud.plan.served_model import no_model, passing, trained_model
from llmcloud.plan.stores import Missing, StoreAccess, usable_store
from llmcloud.plan.training_world import TrainingWorld, pinned


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
