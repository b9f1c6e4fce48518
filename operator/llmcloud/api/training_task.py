"""What the operator tells a trainer: one attempt of an LLMTrainingJob."""

from typing import Literal

from llmcloud.api.base import ApiModel
from llmcloud.api.location import StoreLocation
from llmcloud.api.model import Family, Lora, Method, MetricName, PromptTuning, TaskName


class Architecture(ApiModel):
    """A model from scratch; `vocabulary_size` comes from the dataset's tokenizer."""

    family: Family
    hidden_size: int
    layers: int
    heads: int
    key_value_heads: int | None = None
    context_length: int


class HubInput(ApiModel):
    """A model of the hub; the token, if any, is in a file."""

    name: str
    revision: str
    token_file: str | None = None


class StoredModel(ApiModel):
    """A model's folder in a store. `digest` None: whatever is there.

    `tokenizer_digest`: of the dataset's tokenizer that a job of ours trained it with.
    """

    store: StoreLocation
    path: str
    digest: str | None = None
    tokenizer_digest: str | None = None


class ModelInput(ApiModel):
    """A model that training begins with or learns from: exactly one member is set."""

    architecture: Architecture | None = None
    hub: HubInput | None = None
    stored: StoredModel | None = None


class DatasetInput(ApiModel):
    """A version of a dataset. `path` is the dataset's output path, above its versions.

    `weight`: how often an epoch reads each of its examples.
    """

    store: StoreLocation
    path: str
    name: str
    version: str
    weight: float = 1.0


class DistillTask(ApiModel):
    """What is learned from a teacher, and how much."""

    teacher: ModelInput
    temperature: float
    alpha: float


class MetricGate(ApiModel):
    """A metric to report, and the bounds within which the job passes."""

    name: MetricName
    min: float | None = None
    max: float | None = None


class TrainingTask(ApiModel):
    """One attempt of a training job. `recipe` is the digest of all that decides the result.

    `datasets` is empty only if nothing is learned; then there is an `evaluation_dataset`.
    """

    kind: Literal["training"] = "training"
    job: str
    namespace: str
    owner_uid: str
    attempt: int
    recipe: str
    code_version: str
    task: TaskName
    method: Method
    model: ModelInput
    lora: Lora | None = None
    prompt_tuning: PromptTuning | None = None
    distill: DistillTask | None = None
    datasets: list[DatasetInput] = []
    evaluation_dataset: DatasetInput | None = None
    output: StoreLocation
    output_path: str
    max_steps: int | None = None
    epochs: float | None = None
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    global_batch_size: int
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int
    extra: dict[str, bool | int | float | str] = {}
    checkpoint_every_seconds: int | None = None
    checkpoint_every_steps: int | None = None
    checkpoint_keep: int
    nodes: int = 1
    processes: int = 1  # of each node
    sharded: bool | None = None  # over all ranks; None: if one cannot hold weights and optimizer
    leader: str = ""  # host name of the pod of rank 0, where the others meet
    peak_teraflops: dict[str, float] = {}  # of each accelerator, by precision
    grace_seconds: int = 90
    metrics: list[MetricGate]
