"""What an LLMTrainingJob tells: its phase, inputs, progress, result, and where the time went."""

from typing import Literal

from pydantic import Field

from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    LIST_MAP_BY_NAME,
    Digest,
    Status,
)
from llmcloud.api.contract import CheckpointStatus
from llmcloud.api.training import MOST_DATASETS

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
        max_length=MOST_DATASETS,
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
