"""LLMTrainingJob: from a dataset and a model to a better model."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    LIST_MAP_BY_NAME,
    AcceleratedResources,
    Digest,
    Name,
    Output,
    Placement,
    PodSettings,
    Status,
    exactly_one_of,
    rules,
)
from llmcloud.api.contract import CheckpointStatus
from llmcloud.api.model import (
    FAMILIES,
    METRICS,
    Distill,
    Lora,
    Method,
    MetricName,
    PromptTuning,
    TaskName,
    TrainingModel,
)


class DatasetReference(ApiModel):
    """A dataset of the same namespace."""

    name: Name = Field(description="Name of the LLMDataset, in the same namespace.")
    version: Digest | None = Field(
        default=None, description="Its version; absent: the newest at start, pinned in status."
    )


class Hyperparameters(ApiModel):
    """How the model is trained."""

    max_steps: int | None = Field(default=None, description="Optimizer steps.", ge=1, le=100000000)
    epochs: float | None = Field(
        default=None, description="Passes over the dataset.", ge=0.001, le=10000
    )
    learning_rate: float = Field(
        default=0.0003, description="Peak learning rate of AdamW.", ge=0.00000001, le=10
    )
    warmup_steps: int = Field(default=0, description="Steps of linear warm-up.", ge=0, le=10000000)
    weight_decay: float = Field(default=0.1, description="Of AdamW.", ge=0, le=10)
    global_batch_size: int = Field(
        default=8, description="Sequences of one optimizer step.", ge=1, le=1048576
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 where the accelerator has it."
    )
    seed: int = Field(default=0, description="Of all random numbers.", ge=0, le=2147483647)

    model_config = ConfigDict(json_schema_extra=rules(exactly_one_of("maxSteps", "epochs")))


class Checkpoint(ApiModel):
    """When training is made durable."""

    every_seconds: int | None = Field(
        default=None,
        description="Seconds between checkpoints; 600 if everySteps is absent too.",
        ge=1,
        le=86400,
    )
    every_steps: int | None = Field(
        default=None, description="Steps between checkpoints.", ge=1, le=10000000
    )
    keep: int = Field(default=3, description="Durable checkpoints kept.", ge=1, le=100)
    grace_seconds: int = Field(
        default=90, description="Time for one more checkpoint before a pod ends.", ge=5, le=3600
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!(has(self.everySeconds) && has(self.everySteps))",
                "set everySeconds or everySteps, not both",
            )
        )
    )


class Nodes(ApiModel):
    """How many pods train together; the global batch is the same with any number."""

    min: int = Field(default=1, description="Fewest: with less the job waits.", ge=1, le=1024)
    max: int = Field(default=1, description="Most.", ge=1, le=1024)

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.min <= self.max", "min must not be above max: change one of them")
        )
    )


class Budget(ApiModel):
    """What training may cost."""

    accelerator_hours: float = Field(
        description="Hours of one accelerator: spent, the pods write a checkpoint and stop until "
        "it is raised.",
        ge=0.01,
        le=1e9,
    )


class Metric(ApiModel):
    """A metric and the bounds within which the job passes."""

    name: MetricName = Field(
        description="perplexity; bleu, 0 to 100; rouge1, rouge2, rougeL, accuracy, f1 (mean over "
        "the classes) and biasGap, 0 to 1."
    )
    min: float | None = Field(default=None, description="Passes at or above.", ge=0, le=1e9)
    max: float | None = Field(default=None, description="Passes at or below.", ge=0, le=1e9)


class Evaluation(ApiModel):
    """How the result is judged."""

    dataset: DatasetReference | None = Field(
        default=None,
        description="Judged on all of its examples; absent: on the validation split of "
        "spec.datasets.",
    )
    metrics: list[Metric] = Field(
        description="What is measured.",
        min_length=1,
        max_length=16,
        json_schema_extra=LIST_MAP_BY_NAME,
    )


def _one_of_each(members: Mapping[TaskName, Sequence[str]]) -> str:
    """A CEL map from a task to the list of its words."""
    return "{" + ", ".join(f"'{task}': {list(words)}" for task, words in members.items()) + "}"


def _listed(members: Mapping[TaskName, Sequence[str]]) -> str:
    return "; ".join(f"{task}: {', '.join(words)}" for task, words in members.items())


class LLMTrainingJobSpec(ApiModel):
    """What is trained, on what, how, and where the result goes."""

    mutable: ClassVar[frozenset[str]] = frozenset(
        {"backoffLimit", "budget", "checkpoint", "nodes", "suspend"}
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.lora) || self.method in ['lora', 'qlora']",
                "lora is for the methods lora and qlora: remove it, or choose one of them",
            ),
            (
                "!has(self.promptTuning) || self.method == 'prompt-tuning'",
                "promptTuning is for the method prompt-tuning: remove it, or choose that method",
            ),
            (
                "has(self.distill) == (self.method == 'distill')",
                "the method distill and its member distill need each other: set both or neither",
            ),
            (
                "self.method != 'pretrain' || has(self.model.architecture)",
                "pretrain begins from scratch: set model.architecture, or choose finetune",
            ),
            (
                "self.method in ['pretrain', 'distill'] || !has(self.model.architecture)",
                "this method needs a model that exists: set model.hub, model.store or "
                "model.trainingJob, or choose pretrain",
            ),
            (
                "self.method != 'qlora' || has(self.resources.accelerator)",
                "qlora needs a GPU: set resources.accelerator, or choose lora",
            ),
            (
                "self.method != 'prompt-tuning' || self.task != 'masked-lm'",
                "prompt-tuning does not know masked-lm: choose lora or another task",
            ),
            (
                "!has(self.model.architecture) || self.model.architecture.family in "
                f"{_one_of_each(FAMILIES)}[self.task]",
                f"the family does not fit the task: choose of {_listed(FAMILIES)}",
            ),
            (
                "!has(self.evaluation) || self.evaluation.metrics.all(metric, metric.name in "
                f"{_one_of_each(METRICS)}[self.task])",
                f"a metric does not fit the task: choose of {_listed(METRICS)}",
            ),
            (
                "self.method == 'evaluate' ? has(self.evaluation) : has(self.hyperparameters)",
                "set hyperparameters with maxSteps or epochs; for the method evaluate set "
                "evaluation",
            ),
            (
                "size(self.datasets) > 0 || (self.method == 'evaluate' && has(self.evaluation) && "
                "has(self.evaluation.dataset))",
                "set datasets; for the method evaluate, datasets or evaluation.dataset",
            ),
            (
                "!has(self.budget) || has(self.resources.accelerator)",
                "a budget is of accelerators: set resources.accelerator, or remove budget",
            ),
            (
                "!has(self.queue) || self.nodes.min == self.nodes.max",
                "a queue admits a fixed number of nodes: make nodes.min and nodes.max the same, "
                "or remove queue",
            ),
        )
    )

    model: TrainingModel = Field(description="What is trained.")
    task: TaskName = Field(description="What the model learns to do.")
    method: Method = Field(description="How it learns; evaluate: not at all, it is only judged.")
    lora: Lora | None = Field(default=None, description="Of the methods lora and qlora.")
    prompt_tuning: PromptTuning | None = Field(
        default=None, description="Of the method prompt-tuning."
    )
    distill: Distill | None = Field(default=None, description="Of the method distill.")
    datasets: list[DatasetReference] = Field(
        default=[],
        description="What it learns from.",
        max_length=1,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    hyperparameters: Hyperparameters | None = Field(
        default=None, description="How the model is trained."
    )
    resources: AcceleratedResources = Field(
        default=AcceleratedResources(), description="Of each training pod."
    )
    placement: Placement
    nodes: Nodes = Field(default=Nodes(), description="How many pods train together.")
    queue: Name | None = Field(
        default=None,
        description="Kueue's LocalQueue, which lets the pods start, all or none.",
    )
    pod: PodSettings = Field(default=PodSettings(), description="Additions to the training pods.")
    output: Output = Field(description="Where checkpoints and the model are written.")
    checkpoint: Checkpoint = Field(
        default=Checkpoint(), description="When training is made durable."
    )
    backoff_limit: int = Field(
        default=3,
        description="Failures of the user's making before the job is Failed.",
        ge=0,
        le=100,
    )
    evaluation: Evaluation | None = Field(default=None, description="How the result is judged.")
    suspend: bool = Field(default=False, description="True: checkpoint, stop the pods, wait.")
    budget: Budget | None = Field(default=None, description="What training may cost.")


Phase = Literal[
    "Pending", "Queued", "Starting", "Running", "Evaluating", "Succeeded", "Failed", "Suspended"
]


class PinnedDataset(ApiModel):
    """A dataset version that this job uses."""

    name: str = Field(description="Name of the LLMDataset.", max_length=63)
    version: Digest = Field(description="Its version.")


class PinnedModel(ApiModel):
    """A model that this job uses."""

    url: str = Field(description="Where it lies.", max_length=2048)
    digest: Digest | None = Field(
        default=None, description="Digest of its files, where it is known before the start."
    )
    training_job: str | None = Field(
        default=None, description="The LLMTrainingJob that made it.", max_length=63
    )
    store: str | None = Field(default=None, description="Its ObjectStore.", max_length=63)
    path: str | None = Field(default=None, description="Its folder in the store.", max_length=1024)
    tokenizer_digest: Digest | None = Field(
        default=None, description="Digest of its tokenizer, where a job of ours made it."
    )


class Inputs(ApiModel):
    """Lineage, pinned at start."""

    datasets: list[PinnedDataset] = Field(
        default=[],
        description="Dataset versions.",
        max_length=16,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    evaluation: PinnedDataset | None = Field(
        default=None, description="Dataset version that the result is judged on."
    )
    model: PinnedModel | None = Field(default=None, description="What training begins with.")
    teacher: PinnedModel | None = Field(default=None, description="What is learned from.")
    image: str | None = Field(default=None, description="Image of the trainer.", max_length=512)


class TrainingProgress(ApiModel):
    """How far training is; lossy and throttled."""

    step: int = Field(description="Optimizer steps done.", ge=0)
    total_steps: int = Field(description="Optimizer steps in all.", ge=0)
    percent: int = Field(description="Of the steps.", ge=0, le=100)
    eta_seconds: int | None = Field(default=None, description="Until the last step.", ge=0)
    loss: float | None = Field(default=None, description="Training loss.")
    learning_rate: float | None = Field(default=None, description="At the last step.")
    tokens_per_second: int | None = Field(default=None, description="Throughput.", ge=0)
    tokens_seen: int | None = Field(default=None, description="Tokens trained on.", ge=0)


class MetricStatus(ApiModel):
    """One measured metric."""

    name: str = Field(description="Name of the metric.", max_length=64)
    value: float = Field(description="Its value.")
    passed: bool = Field(default=True, description="Whether it is within its bounds.")
    low: float | None = Field(default=None, description="Low end of its 95 % interval.")
    high: float | None = Field(default=None, description="High end of its 95 % interval.")


class EvaluationStatus(ApiModel):
    """The judgement of the result."""

    passed: bool = Field(description="Every metric is within its bounds.")
    metrics: list[MetricStatus] = Field(
        default=[],
        description="What was measured.",
        max_length=16,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    groups: list[MetricStatus] = Field(
        default=[],
        description="A metric within each group, as biasGap.female.",
        max_length=16,
        json_schema_extra=LIST_MAP_BY_NAME,
    )
    baselines: list[MetricStatus] = Field(
        default=[],
        description="The same measure of simple models, to compare with.",
        max_length=16,
        json_schema_extra=LIST_MAP_BY_NAME,
    )


class LostSeconds(ApiModel):
    """Time that trained nothing."""

    startup: int = Field(
        default=0, description="From the first pod's creation to the first step.", ge=0
    )
    restart: int = Field(
        default=0,
        description="By attempts that failed: steps that no checkpoint kept, the wait for another "
        "attempt, and its start.",
        ge=0,
    )
    checkpoint: int = Field(default=0, description="Training stood still for a checkpoint.", ge=0)


class Goodput(ApiModel):
    """Where the time of all attempts went."""

    productive_seconds: int = Field(
        default=0, description="Spent in steps whose result is durable.", ge=0
    )
    lost_seconds: LostSeconds = Field(default=LostSeconds(), description="Spent otherwise.")
    accelerator_hours: float | None = Field(
        default=None,
        description="Of all accelerators, from the start of a pod's container to its end.",
        ge=0,
    )
    mfu: float | None = Field(
        default=None,
        description="Model FLOPs utilization: the model's arithmetic by the peak of the "
        "accelerators; absent where one of them is not known.",
        ge=0,
    )


class ModelStatus(ApiModel):
    """The finished model."""

    url: str = Field(description="Where it lies.", max_length=2048)
    path: str = Field(description="Its folder in the output store.", max_length=1024)
    digest: Digest = Field(description="Digest of its files.")
    kind: Literal["full", "adapter"] = Field(
        default="full", description="adapter: of use with the model that it was trained on alone."
    )
    tokenizer_digest: Digest | None = Field(
        default=None, description="Digest of the tokenizer that it was trained with."
    )


class LLMTrainingJobStatus(Status):
    """What came of it."""

    phase: Phase = Field(default="Pending", description="One word for people; read conditions.")
    attempt: int = Field(default=0, description="Number of the current attempt.", ge=0)
    failures: int = Field(default=0, description="Attempts that failed by the user's making.", ge=0)
    inputs: Inputs | None = Field(default=None, description="Lineage, pinned at start.")
    progress: TrainingProgress | None = Field(default=None, description="How far training is.")
    checkpoint: CheckpointStatus | None = Field(
        default=None, description="The last durable checkpoint."
    )
    evaluation: EvaluationStatus | None = Field(
        default=None, description="The judgement of the result."
    )
    goodput: Goodput | None = Field(default=None, description="Where the time went.")
    model: ModelStatus | None = Field(default=None, description="The finished model.")
