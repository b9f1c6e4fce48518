"""From an architecture to the arguments of a transformers configuration, or a refusal.

Pure: decides before torch is imported whether a model can exist, and with which sizes. It
refuses to guess: a shape that does not fit is an error that names the field and the remedy.
"""

from typing import Any

from llmcloud.api.contract import Architecture, DatasetManifest, TrainingTask
from llmcloud.cloud.errors import ConfigurationInvalid

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
    if architecture.family == "gpt2" and groups != heads:
        raise ConfigurationInvalid(
            "spec.model.architecture.keyValueHeads is not known to the family gpt2; remove it, or "
            "choose the family llama."
        )
    if heads % groups:
        raise ConfigurationInvalid(
            f"spec.model.architecture.keyValueHeads is {groups}, which does not divide heads "
            f"{heads}; choose a number that does."
        )


def check_dataset(task: TrainingTask, manifest: DatasetManifest) -> None:
    """Raise ConfigurationInvalid if the job cannot train or evaluate on this dataset."""
    length, context = manifest.sequence_length_tokens, task.architecture.context_length
    if length > context:
        raise ConfigurationInvalid(
            f"Dataset {task.dataset_name} has sequences of {length} tokens and the model a "
            f"contextLength of {context}; raise spec.model.architecture.contextLength to at least "
            f"{length}, or prepare the dataset with a smaller spec.sequenceLength."
        )
    if not any(shard.sequences for shard in manifest.train):
        raise ConfigurationInvalid(
            f"Dataset {task.dataset_name} has less than one training sequence of {length} tokens; "
            f"prepare more text, or a smaller spec.sequenceLength."
        )
    if task.metrics and not any(shard.sequences for shard in manifest.validation):
        raise ConfigurationInvalid(
            f"Dataset {task.dataset_name} has no validation sequence to evaluate on; raise its "
            f"spec.prepare.split.validationFraction, prepare more text, or remove "
            f"spec.evaluation from the job."
        )


def check_schedule(task: TrainingTask, total_steps: int) -> None:
    """Raise ConfigurationInvalid if the warmup would outlast the training."""
    if task.warmup_steps > total_steps:
        raise ConfigurationInvalid(
            f"spec.hyperparameters.warmupSteps is {task.warmup_steps} and the training has "
            f"{total_steps} steps; lower warmupSteps or train longer."
        )


def model_arguments(
    architecture: Architecture, vocabulary_size: int, end_of_text_id: int
) -> dict[str, Any]:
    """Keyword arguments for LlamaConfig or GPT2Config, by `architecture.family`.

    No dropout: a model from scratch rarely sees its text often enough to need it. Input and
    output embeddings are one matrix (Press and Wolf 2017, arXiv:1608.05859).
    """
    check_architecture(architecture)
    shared: dict[str, Any] = {
        "vocab_size": vocabulary_size,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
        "tie_word_embeddings": True,
    }
    if architecture.family == "gpt2":
        return shared | {
            "n_embd": architecture.hidden_size,
            "n_layer": architecture.layers,
            "n_head": architecture.heads,
            "n_positions": architecture.context_length,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }
    return shared | {
        "hidden_size": architecture.hidden_size,
        "intermediate_size": feed_forward_size(architecture.hidden_size),
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.key_value_heads or architecture.heads,
        "max_position_embeddings": architecture.context_length,
    }
