"""Where a model comes from, and what a method of training has to be told."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import (
    LIST_ATOMIC,
    Name,
    SecretKeyReference,
    StoreReference,
    exactly_one_of,
    rules,
)
from llmcloud.api.selector import LabelSelector
from llmcloud.api.source import DatasetType

Family = Literal["llama", "gpt2", "bert", "t5"]
TaskName = Literal[
    "causal-lm", "masked-lm", "seq2seq", "sequence-classification", "token-classification"
]
Method = Literal[
    "pretrain", "finetune", "lora", "qlora", "prompt-tuning", "distill", "evaluate"
]  # fmt: skip
MetricName = Literal[
    "perplexity", "bleu", "rouge1", "rouge2", "rougeL", "accuracy", "f1", "biasGap"
]

FAMILIES: Final[dict[TaskName, tuple[Family, ...]]] = {
    "causal-lm": ("llama", "gpt2"),
    "masked-lm": ("bert",),
    "seq2seq": ("t5",),
    "sequence-classification": ("llama", "gpt2", "bert"),
    "token-classification": ("llama", "gpt2", "bert"),
}
"""Which families of an architecture a task may have."""
METRICS: Final[dict[TaskName, tuple[MetricName, ...]]] = {
    "causal-lm": ("perplexity",),
    "masked-lm": ("perplexity",),
    "seq2seq": ("perplexity", "bleu", "rouge1", "rouge2", "rougeL"),
    "sequence-classification": ("accuracy", "f1", "biasGap"),
    "token-classification": ("accuracy", "f1"),
}
"""Which metrics a task may be judged by."""
DATASET_TYPES: Final[dict[TaskName, tuple[DatasetType, ...]]] = {
    "causal-lm": ("text", "chat"),
    "masked-lm": ("text",),
    "seq2seq": ("pairs",),
    "sequence-classification": ("labeled",),
    "token-classification": ("tags",),
}
"""Which types of dataset a task learns from."""

ModuleName = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.]+$")
]


class HubModel(ApiModel):
    """A model of the Hugging Face hub, or of the mirror that the installation names."""

    name: str = Field(
        description="Repository, as gpt2 or organisation/model.",
        min_length=1,
        max_length=193,
        pattern=r"^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)?$",
    )
    revision: str = Field(
        default="main",
        description="Branch, tag or commit; a commit never changes.",
        min_length=1,
        max_length=255,
        pattern=r"^[A-Za-z0-9][-._/A-Za-z0-9]*$",
    )
    token_secret_ref: SecretKeyReference | None = Field(
        default=None, description="Token for models that are not public."
    )


class TrainingJobModel(ApiModel):
    """The model of an LLMTrainingJob of the same namespace."""

    name: Name | None = Field(default=None, description="Name of the LLMTrainingJob.")
    selector: LabelSelector | None = Field(
        default=None, description="Of the jobs that it selects, the newest that passed."
    )

    model_config = ConfigDict(json_schema_extra=rules(exactly_one_of("name", "selector")))


class ModelReference(ApiModel):
    """A model that exists."""

    hub: HubModel | None = Field(default=None, description="A model of the hub.")
    store: StoreReference | None = Field(default=None, description="A model's folder in a store.")
    training_job: TrainingJobModel | None = Field(
        default=None, description="A model that an LLMTrainingJob made."
    )

    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one_of("hub", "store", "trainingJob"))
    )


class ArchitectureSpec(ApiModel):
    """A model from scratch; its vocabulary is the dataset's tokenizer."""

    family: Family = Field(description="Family of the architecture.")
    hidden_size: int = Field(description="Width of the residual stream.", ge=8, le=65536)
    layers: int = Field(
        description="Transformer blocks; t5 has as many in its encoder as in its decoder.",
        ge=1,
        le=512,
    )
    heads: int = Field(description="Attention heads.", ge=1, le=512)
    key_value_heads: int | None = Field(
        default=None, description="Key-value heads (llama); absent: as many as heads.", ge=1, le=512
    )
    context_length: int = Field(description="Longest sequence in tokens.", ge=16, le=1048576)

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.hiddenSize % self.heads == 0",
                "hiddenSize must be a multiple of heads: change one of them",
            ),
            (
                "self.family != 'llama' || (self.hiddenSize / self.heads) % 2 == 0",
                "hiddenSize / heads must be even (rotary embeddings): change one of them",
            ),
            (
                "!has(self.keyValueHeads) || self.heads % self.keyValueHeads == 0",
                "heads must be a multiple of keyValueHeads: change one of them",
            ),
            (
                "!has(self.keyValueHeads) || self.family == 'llama'",
                "keyValueHeads is for family llama: remove it",
            ),
        )
    )


class TrainingModel(ApiModel):
    """What is trained."""

    architecture: ArchitectureSpec | None = Field(default=None, description="A model from scratch.")
    hub: HubModel | None = Field(default=None, description="A model of the hub.")
    store: StoreReference | None = Field(default=None, description="A model's folder in a store.")
    training_job: TrainingJobModel | None = Field(
        default=None, description="A model that an LLMTrainingJob made."
    )

    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one_of("architecture", "hub", "store", "trainingJob"))
    )


class Lora(ApiModel):
    """Low-rank adapters (E. Hu et al., 2021, arXiv:2106.09685)."""

    rank: int = Field(default=16, description="Rank of the update.", ge=1, le=1024)
    alpha: int = Field(
        default=32, description="The update is scaled by alpha / rank.", ge=1, le=8192
    )
    dropout: float = Field(default=0.0, description="Of the adapter's input.", ge=0, le=0.9)
    target_modules: list[ModuleName] | None = Field(
        default=None,
        description="Modules that get an adapter; absent: all linear layers but the output's.",
        min_length=1,
        max_length=64,
        json_schema_extra=LIST_ATOMIC,
    )
    merge: bool = Field(
        default=False, description="True: a full model with the adapter in its weights."
    )


class PromptTuning(ApiModel):
    """Learned vectors before the input (B. Lester et al., 2021, arXiv:2104.08691)."""

    virtual_tokens: int = Field(default=20, description="Vectors that are learned.", ge=1, le=4096)


class Distill(ApiModel):
    """Learn from a teacher: (1 - alpha) x cross-entropy + alpha x temperature^2 x KL divergence
    of the softened distributions (G. Hinton et al., 2015, arXiv:1503.02531)."""

    teacher: ModelReference = Field(description="The model that is learned from.")
    temperature: float = Field(
        default=2.0, description="Softens both distributions.", ge=0.1, le=100
    )
    alpha: float = Field(
        default=0.5, description="Weight of the teacher against the labels.", ge=0, le=1
    )
