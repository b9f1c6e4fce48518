"""A model in memory: built from an architecture, or loaded from a folder.

Weights are safetensors and code is never loaded with them. Nothing here decides what is trained.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    set_seed,
)

from llmcloud.api.contract import ModelInput
from llmcloud.api.model import TaskName
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.configuration import model_arguments
from llmcloud_runtime.encoding import CHAT_TEMPLATE, Tokenizer
from llmcloud_runtime.flops import Shape
from llmcloud_runtime.origin import Source

MASK = "<|mask|>"
CLASSES: Mapping[TaskName, Any] = {
    "causal-lm": AutoModelForCausalLM,
    "masked-lm": AutoModelForMaskedLM,
    "seq2seq": AutoModelForSeq2SeqLM,
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
}
CLASSIFYING: frozenset[TaskName] = frozenset({"sequence-classification", "token-classification"})

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""Settings of models whose tokens see some of the weights."""

log = logging.getLogger(__name__)


def load_tokenizer(folder: Path, task: TaskName) -> Tokenizer:
    """The tokenizer of a folder; one that cannot pad or mask is taught to."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(
            f"The model has no tokenizer that can be loaded without its own code ({error}); choose "
            "a model with a tokenizer.json."
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if task == "masked-lm" and tokenizer.mask_token is None:
        tokenizer.add_special_tokens({"mask_token": MASK})
    if tokenizer.chat_template is None:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(
    model: ModelInput, task: TaskName, tokenizer: Tokenizer, labels: Sequence[str], seed: int
) -> PreTrainedModel:
    """A model with random weights, the same for the same seed."""
    assert model.architecture is not None, "another kind of source is loaded, not built"
    shape = model.architecture
    config = AutoConfig.for_model(
        shape.family,
        **model_arguments(
            shape,
            len(tokenizer),
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
        ),
        **_head(task, labels),
    )
    set_seed(seed)
    return CLASSES[task].from_config(config, trust_remote_code=False)


def load_model(
    source: Source,
    task: TaskName,
    tokenizer: Tokenizer,
    labels: Sequence[str],
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    new_head: bool = True,
    quantization: Any = None,
) -> PreTrainedModel:
    """The model of a folder. Its head is kept where it knows the same labels.

    `new_head` False: another head is refused. Raises ConfigurationInvalid.
    """
    config = _config(source)
    head = _head(task, labels)
    if head and head.get("id2label") == config.id2label and _does(config, task):
        head = {}
    elif head and not new_head:
        known = ", ".join(map(str, config.id2label.values()))
        raise ConfigurationInvalid(
            f"The model {source.url} does not know the dataset's labels (it has {known}); choose "
            "a dataset with these, or finetune the model first."
        )
    set_seed(seed)
    options = {} if quantization is None else {"quantization_config": quantization}
    try:
        model: PreTrainedModel = CLASSES[task].from_pretrained(
            source.folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=bool(head),
            **head,
            **options,
        )
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(
            f"The model {source.url} cannot be loaded for the task {task}: "
            f"{str(error).splitlines()[0]} Choose another model or another task."
        ) from error
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model


def context_tokens(config: PretrainedConfig) -> int | None:
    """The longest sequence that the model's positions allow; None where they do not end."""
    if config.model_type == "t5":
        return None
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def shape_of_work(model: Any) -> Shape | None:
    """What of the model, with its adapter, decides its arithmetic; None where that is not one
    decoder or encoder whose every weight sees every token."""
    own = model.get_base_model() if isinstance(model, PeftModel) else model
    config = own.config.get_text_config()
    experts = any(getattr(config, name, None) for name in EXPERTS)
    if experts or config.is_encoder_decoder:
        return None
    output, embeddings = own.get_output_embeddings(), own.get_input_embeddings().weight
    tied = embeddings if output is not None and output.weight is embeddings else None
    multiplied = 0 if tied is None else tied.numel()
    trained = multiplied if tied is not None and tied.requires_grad else 0
    return Shape(
        weights=own.num_parameters(exclude_embeddings=True) + multiplied,
        trained=own.num_parameters(only_trainable=True, exclude_embeddings=True) + trained,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
    )


def same_vocabulary(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether the same numbers stand for the same tokens."""
    known: dict[str, int] = one.get_vocab()
    return known == other.get_vocab()


def _config(source: Source) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(
            source.folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(
            f"The model {source.url} is of no family that can be loaded without its own code; "
            "choose another model."
        ) from error


def _does(config: PretrainedConfig, task: TaskName) -> bool:
    """Whether the weights were saved with a head of the task."""
    suffix = {"sequence-classification": "ForSequenceClassification"}
    wanted = suffix.get(task, "ForTokenClassification")
    return any(name.endswith(wanted) for name in config.architectures or [])


def _head(task: TaskName, labels: Sequence[str]) -> dict[str, Any]:
    if task not in CLASSIFYING:
        return {}
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }
