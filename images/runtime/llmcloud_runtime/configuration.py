"""From an architecture to the arguments of a transformers configuration, or a refusal.

Pure: decides before torch is imported whether a model can exist, and with which sizes. It
refuses to guess: a shape that does not fit is an error that names the field and the remedy.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from llmcloud.api.contract import Architecture, DatasetManifest, TrainingTask
from llmcloud.api.model import DATASET_TYPES, FAMILIES
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.errors import VocabularyMismatch

FEED_FORWARD_MULTIPLE = 32


def feed_forward_size(hidden_size: int) -> int:
    """Width of a SwiGLU layer: 8/3 of the hidden size, so that its three matrices hold as many
    weights as the two of a plain layer of four times the width (Shazeer 2020, arXiv:2002.05202),
    rounded up to a multiple of `FEED_FORWARD_MULTIPLE`."""
    wanted = -(-hidden_size * 8 // 3)
    return -(-wanted // FEED_FORWARD_MULTIPLE) * FEED_FORWARD_MULTIPLE


def check_architecture(architecture: Architecture) -> None:
    """Raise ConfigurationInvalid if no model can have this shape."""
    hidden, heads = architecture.hidden_size, architecture.heads
    if hidden % heads:
        raise ConfigurationInvalid(
            f"spec.model.architecture.heads is {heads}, which does not divide hiddenSize {hidden}; "
            f"choose a number of heads that does."
        )
    if architecture.family == "llama" and (hidden // heads) % 2:
        raise ConfigurationInvalid(
            f"spec.model.architecture gives heads of {hidden // heads} dimensions, and rotary "
            f"positions need an even number; choose hiddenSize and heads so that their ratio is "
            f"even."
        )
    groups = architecture.key_value_heads
    if groups is None:
        return
    if architecture.family != "llama" and groups != heads:
        raise ConfigurationInvalid(
            f"spec.model.architecture.keyValueHeads is not known to the family "
            f"{architecture.family}; remove it, or choose the family llama."
        )
    if heads % groups:
        raise ConfigurationInvalid(
            f"spec.model.architecture.keyValueHeads is {groups}, which does not divide heads "
            f"{heads}; choose a number that does."
        )


def check_task(task: TrainingTask) -> None:
    """Raise ConfigurationInvalid if no model of this shape does the task."""
    architecture = task.model.architecture
    if architecture is None:
        return
    check_architecture(architecture)
    if architecture.family not in FAMILIES[task.task]:
        raise ConfigurationInvalid(
            f"spec.model.architecture.family {architecture.family} does not do {task.task}; choose "
            f"{' or '.join(FAMILIES[task.task])}."
        )


def check_dataset(task: TrainingTask, name: str, manifest: DatasetManifest) -> None:
    """Raise ConfigurationInvalid if the task cannot learn from, or be judged by, this dataset."""
    wanted = DATASET_TYPES[task.task]
    if manifest.type not in wanted:
        raise ConfigurationInvalid(
            f"Dataset {name} is of type {manifest.type} and spec.task {task.task} needs "
            f"{' or '.join(wanted)}; choose another dataset or another task."
        )
    if manifest.type in ("labeled", "tags") and len(manifest.labels) < 2:
        raise ConfigurationInvalid(
            f"Dataset {name} has {len(manifest.labels)} labels, and there must be two to choose "
            "from; add them to its spec.labels."
        )


def check_alike(datasets: Sequence[tuple[str, DatasetManifest]]) -> None:
    """Raise ConfigurationInvalid or VocabularyMismatch if datasets cannot be mixed."""
    for (name, one), (other_name, other) in pairwise(datasets):
        both = f"Datasets {name} and {other_name}, which spec.datasets mixes,"
        for member, mine, theirs in (
            ("type", one.type, other.type),
            ("sequenceLength", one.sequence_length_tokens, other.sequence_length_tokens),
            ("labels", one.labels, other.labels),
        ):
            if mine != theirs:
                raise ConfigurationInvalid(
                    f"{both} differ in spec.{member} ({mine} and {theirs}); prepare them alike, or "
                    "name one of them."
                )
        if one.tokenizer_digest != other.tokenizer_digest:
            raise VocabularyMismatch(
                f"{both} have other tokenizers; prepare both with the tokenizer of one model "
                "(spec.tokenizer.model), or name one of them."
            )


def check_length(name: str, manifest: DatasetManifest, context_tokens: int | None) -> None:
    """Raise ConfigurationInvalid if packed sequences are longer than the model's context."""
    length = manifest.sequence_length_tokens
    if manifest.type == "text" and context_tokens is not None and length > context_tokens:
        raise ConfigurationInvalid(
            f"Dataset {name} has sequences of {length} tokens and the model a context of "
            f"{context_tokens}; raise spec.model.architecture.contextLength to at least {length}, "
            f"or prepare the dataset with a smaller spec.sequenceLength."
        )


def check_split(name: str, count: int, split: Literal["training", "validation"]) -> None:
    """Raise ConfigurationInvalid if there is nothing to learn from, or to be judged by."""
    if count:
        return
    if split == "training":
        raise ConfigurationInvalid(
            f"Dataset {name} has less than one training sequence or example; prepare more, or a "
            "smaller spec.sequenceLength."
        )
    raise ConfigurationInvalid(
        f"Dataset {name} has no validation sequence or example to evaluate on; raise its "
        "spec.prepare.split.validationFraction, prepare more, or remove spec.evaluation from the "
        "job."
    )


def check_schedule(task: TrainingTask, total_steps: int) -> None:
    """Raise ConfigurationInvalid if the warmup would outlast the training."""
    if task.warmup_steps > total_steps:
        raise ConfigurationInvalid(
            f"spec.hyperparameters.warmupSteps is {task.warmup_steps} and the training has "
            f"{total_steps} steps; lower warmupSteps or train longer."
        )


def model_arguments(
    architecture: Architecture, vocabulary_size: int, end_of_text_id: int, padding_id: int
) -> dict[str, Any]:
    """Keyword arguments for the transformers configuration of `architecture.family`.

    No dropout: a model from scratch rarely sees its text often enough to need it. Input and
    output embeddings are one matrix (Press and Wolf 2017, arXiv:1608.05859).
    """
    check_architecture(architecture)
    hidden = architecture.hidden_size
    shared: dict[str, Any] = {
        "vocab_size": vocabulary_size,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
        "pad_token_id": padding_id,
        "tie_word_embeddings": True,
    }
    match architecture.family:
        case "gpt2":
            return shared | {
                "n_embd": hidden,
                "n_layer": architecture.layers,
                "n_head": architecture.heads,
                "n_positions": architecture.context_length,
                "embd_pdrop": 0.0,
                "attn_pdrop": 0.0,
                "resid_pdrop": 0.0,
            }
        case "llama":
            return shared | {
                "hidden_size": hidden,
                "intermediate_size": feed_forward_size(hidden),
                "num_hidden_layers": architecture.layers,
                "num_attention_heads": architecture.heads,
                "num_key_value_heads": architecture.key_value_heads or architecture.heads,
                "max_position_embeddings": architecture.context_length,
            }
        case "bert":
            return shared | {
                "hidden_size": hidden,
                "intermediate_size": 4 * hidden,
                "num_hidden_layers": architecture.layers,
                "num_attention_heads": architecture.heads,
                "max_position_embeddings": architecture.context_length,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
            }
        case "t5":
            return shared | {
                "d_model": hidden,
                "d_kv": hidden // architecture.heads,
                "d_ff": 4 * hidden,
                "num_layers": architecture.layers,
                "num_heads": architecture.heads,
                "n_positions": architecture.context_length,
                "decoder_start_token_id": padding_id,
                "dropout_rate": 0.0,
            }
