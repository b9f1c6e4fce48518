"""LLMTrainingJob: from a dataset and a model to a better model."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    LIST_MAP_BY_NAME,
    AcceleratedResources,
    Digest,
    Name,
    Output,
    Placement,
    PodSettings,
    exactly_one_of,
    rules,
)
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

PODS_TTL_SECONDS = 86400
MOST_DATASETS = 16


class DatasetReference(ApiModel):
    """A dataset of the same namespace."""

    name: Name = Field(description="Name of the LLMDataset, in the same namespace.")
    version: Digest | None = Field(
        default=None, description="Its version; absent: the newest at start, pinned in status."
    )


class WeighedDataset(DatasetReference):
    """A dataset that is learned from, and how much of it."""

    weight: float = Field(
        default=1.0,
        description="How often an epoch reads each of its examples. Its share of all that is read "
        "is its weight times its size: with the same weight everywhere the datasets are read as if "
        "they were one.",
        ge=0.001,
        le=1000,
    )


ExtraArguments = Annotated[
    dict[str, Any],
    AfterValidator(lambda extra: extra or None),
    WithJsonSchema(
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "maxProperties": 32}
    ),
]
"""Of any type, as no schema of a CustomResourceDefinition has unions; the operator checks it."""


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
    extra: ExtraArguments | None = Field(
        default=None,
        description="More arguments of transformers' Trainer by their names there, each true or "
        "false, a number or a text, for example max_grad_norm: 0.5; none of those that other "
        "members of this object decide.",
    )

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
        {"backoffLimit", "budget", "checkpoint", "nodes", "podsTTLSeconds", "suspend"}
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
    datasets: list[WeighedDataset] = Field(
        default=[],
        description="What it learns from: of one type, one tokenizer and one sequence length.",
        max_length=MOST_DATASETS,
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
    sharding: Literal["Auto", "Always", "Never"] = Field(
        default="Auto",
        description="Whether weights, gradients and the optimizer's state are spread over all "
        "accelerators (FSDP) instead of held by each (DDP). Auto: if one cannot hold them. "
        "Adapters' bases are held by each.",
    )
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
    pods_ttl_seconds: int = Field(
        default=PODS_TTL_SECONDS,
        alias="podsTTLSeconds",
        description="How long after the job's end its pods stay, with their logs.",
        ge=0,
        le=31536000,
    )
