"""What of a model is trained: all of it, a low-rank adapter, or a prompt."""

from collections.abc import Mapping
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    PromptTuningConfig,
    PromptTuningInit,
    TaskType,
    get_peft_model,
    prepare_model_for_kbit_training,
)
from transformers import BitsAndBytesConfig, PreTrainedModel

from llmcloud.api.contract import TrainingTask
from llmcloud.api.model import Lora, Method, PromptTuning, TaskName
from llmcloud.cloud.errors import ConfigurationInvalid

ADAPTING: frozenset[Method] = frozenset({"lora", "qlora", "prompt-tuning"})
"""Methods that leave the model's own weights as they are."""
TASK_TYPES: Mapping[TaskName, TaskType | None] = {
    "causal-lm": TaskType.CAUSAL_LM,
    "masked-lm": None,
    "seq2seq": TaskType.SEQ_2_SEQ_LM,
    "sequence-classification": TaskType.SEQ_CLS,
    "token-classification": TaskType.TOKEN_CLS,
}


def quantization_for(method: Method) -> Any:
    """4-bit NormalFloat for qlora (T. Dettmers et al., 2023, arXiv:2305.14314), else None.

    Raises ConfigurationInvalid without the hardware.
    """
    if method != "qlora":
        return None
    if not torch.cuda.is_available():
        raise ConfigurationInvalid(
            "spec.method qlora needs an NVIDIA GPU, and this pod has none; set "
            "spec.resources.accelerator, or choose the method lora."
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def trainable(task: TrainingTask, model: PreTrainedModel) -> PreTrainedModel | PeftModel:
    """The model as its method trains it; adapters begin as if they were not there."""
    if task.method == "prompt-tuning":
        return _adapted(model, _prompt(task.task, task.prompt_tuning or PromptTuning()))
    if task.method in ("lora", "qlora"):
        if task.method == "qlora":
            model = prepare_model_for_kbit_training(model)
        return _adapted(model, _lora(task.task, task.lora or Lora()))
    return model


def _adapted(model: PreTrainedModel, config: Any) -> PeftModel:
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise ConfigurationInvalid(
            f"{error} Correct spec.lora.targetModules, or leave it out."
        ) from error


def _lora(task: TaskName, lora: Lora) -> LoraConfig:
    return LoraConfig(
        task_type=TASK_TYPES[task],
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules or "all-linear",
    )


def _prompt(task: TaskName, prompt: PromptTuning) -> PromptTuningConfig:
    return PromptTuningConfig(
        task_type=TASK_TYPES[task],
        num_virtual_tokens=prompt.virtual_tokens,
        prompt_tuning_init=PromptTuningInit.RANDOM,
    )
