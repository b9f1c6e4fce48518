"""Arguments of transformers' Trainer that a job adds: which are whose, decided before a pod starts.

Names that nobody knows are found by the pod, which has the Trainer.
"""

from typing import Any, Final

from llmcloud.api.names import Reason
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.stores import Missing

VALUE_CHARACTERS: Final = 1024

_REMEDIES: Final[dict[str, tuple[str, ...]]] = {
    "set spec.hyperparameters.maxSteps or epochs": ("max_steps", "num_train_epochs"),
    "set spec.hyperparameters.learningRate": ("learning_rate",),
    "set spec.hyperparameters.warmupSteps": ("warmup_steps", "warmup_ratio"),
    "set spec.hyperparameters.weightDecay": ("weight_decay",),
    "set spec.hyperparameters.seed": ("seed", "data_seed"),
    "set spec.hyperparameters.precision": ("bf16*", "fp16*", "half_precision_backend"),
    "set spec.hyperparameters.globalBatchSize": (
        "per_device_*", "per_gpu_*", "gradient_accumulation_steps", "auto_find_batch_size",
        "average_tokens_across_devices", "split_batches",
    ),
    "set spec.checkpoint": (
        "save_*", "resume_from_checkpoint", "load_best_model_at_end", "ignore_data_skip",
        "restore_callback_states_from_checkpoint", "enable_jit_checkpoint",
    ),
    "set spec.output": ("output_dir", "overwrite_output_dir", "push_to_hub*", "hub_*"),
    "set spec.evaluation": (
        "do_*", "eval_*", "evaluation_strategy", "metric_for_best_model", "greater_is_better",
        "batch_eval_metrics", "prediction_loss_only", "include_for_metrics",
    ),
    "set spec.nodes and spec.resources": (
        "ddp_*", "local_rank", "use_cpu", "no_cuda", "accelerator_config", "tpu_*",
    ),
    "set spec.sharding": ("fsdp*", "deepspeed", "parallelism_config"),
    "the order of spec.datasets is the operator's": (
        "dataloader_*", "train_sampling_strategy", "group_by_length", "length_column_name",
        "remove_unused_columns", "label_names",
    ),
    "status.progress and the pods' logs tell how training goes": (
        "log_*", "logging_*", "report_to", "run_name", "project", "trackio_*", "disable_tqdm",
        "skip_memory_metrics", "debug", "include_num_input_tokens_seen",
    ),
}  # fmt: skip
"""What is to be done instead of setting an argument of ours; * stands for the rest of a name."""


def extra_refusal(spec: LLMTrainingJobSpec) -> Missing | None:
    """Why an argument may not be set, or not so; None if all may."""
    extra = spec.hyperparameters.extra if spec.hyperparameters is not None else None
    for name, value in (extra or {}).items():
        why = _owned(name) or _unreadable(value)
        if why is not None:
            message = f"spec.hyperparameters.extra.{name[:64]} {why}."
            return Missing(Reason.SPEC_INVALID, message, stalled=True)
    return None


def _owned(name: str) -> str | None:
    for remedy, patterns in _REMEDIES.items():
        if any(_matches(name, pattern) for pattern in patterns):
            return f"is not yours to set: remove it; {remedy}"
    return None


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _unreadable(value: Any) -> str | None:
    if not isinstance(value, bool | int | float | str):
        return "must be true or false, a number or a text: write a list or an object as its JSON"
    if len(str(value)) > VALUE_CHARACTERS:
        return f"is longer than {VALUE_CHARACTERS} characters: shorten it"
    return None
