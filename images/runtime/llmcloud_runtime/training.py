"""Training with transformers' Trainer: what it is told, and the data in the order of the seed.

Exact on resumption: the order of the data is a function of the step alone, and a checkpoint
holds weights, optimizer, scheduler and random states. It knows no store: whoever calls it hands
it a callback and folders.
"""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from llmcloud.api.contract import TrainingTask
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.collation import Collator
from llmcloud_runtime.encoding import Encode, Features
from llmcloud_runtime.group import Group
from llmcloud_runtime.losses import Loss, TaskTrainer
from llmcloud_runtime.schedule import (
    CPU_LOGIT_BYTES,
    Batches,
    sequences_in_memory,
    split_batch,
)
from llmcloud_runtime.watch import Watch

GPU_LOGIT_SHARE = 8
"""One part in eight of the accelerator's memory may hold logits."""
MOST_LOGGED_STEPS = 10


class OrderedExamples(Dataset[Features]):
    """A rank's part of the training run as one long list, in the order of reading.

    Items are asked for in their order, from any of them on. What is random in an example is drawn
    from the seed and its place in the run.
    """

    def __init__(
        self, read: Callable[[int], Any], encode: Encode, seed: int, length: int, group: Group
    ) -> None:
        """`read`: the record at a place of the rank's part. `length`: of the whole run, of which
        each rank has an equal part."""
        self._read = read
        self._encode = encode
        self._seed = seed
        self._length = length // group.ranks
        self._group = group

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Features:
        place = self._group.rank + self._group.ranks * position
        return self._encode(self._read(position), (self._seed, place))


def precision_of(wanted: Literal["auto", "float32", "bfloat16"]) -> torch.dtype:
    """`auto`: bfloat16 where an accelerator computes it, else float32."""
    capable = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    if wanted == "bfloat16" or (wanted == "auto" and capable):
        return torch.bfloat16
    return torch.float32


def precision_name(wanted: Literal["auto", "float32", "bfloat16"]) -> str:
    """As the chart's catalogue of accelerators names precisions."""
    return str(precision_of(wanted)).removeprefix("torch.")


def batches_for(global_batch_size: int, length_tokens: int, outputs: int, ranks: int) -> Batches:
    """How this machine cuts its part of the global batch. `outputs`: numbers that a model says per
    token."""
    if torch.cuda.is_available():
        logit_bytes = torch.cuda.get_device_properties(0).total_memory // GPU_LOGIT_SHARE
    else:
        logit_bytes = CPU_LOGIT_BYTES
    most = sequences_in_memory(logit_bytes, length_tokens, outputs)
    try:
        return split_batch(global_batch_size, ranks, most)
    except ValueError as error:
        raise ConfigurationInvalid(
            f"{error} Choose a spec.hyperparameters.globalBatchSize that spec.resources.count "
            f"and spec.nodes divide."
        ) from error


def arguments_for(
    task: TrainingTask, batches: Batches, total_steps: int, folder: Path
) -> TrainingArguments:
    """What the Trainer is told. Saving and stopping are the callback's.

    Raises ConfigurationInvalid if it does not take what the job adds.
    """
    settings: dict[str, Any] = {
        "lr_scheduler_type": "cosine",
        "adam_beta2": 0.95,
        **task.extra,
        "output_dir": str(folder),
        "max_steps": total_steps,
        "per_device_train_batch_size": batches.per_device,
        "gradient_accumulation_steps": batches.accumulation,
        "learning_rate": task.learning_rate,
        "warmup_steps": task.warmup_steps,
        "weight_decay": task.weight_decay,
        "bf16": precision_of(task.precision) == torch.bfloat16,
        "seed": task.seed,
        "data_seed": task.seed,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": max(1, min(MOST_LOGGED_STEPS, total_steps // 100)),
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "ddp_backend": "gloo" if torch.distributed.is_initialized() else None,
        "disable_tqdm": True,
        "log_level": "warning",
    }
    try:
        return TrainingArguments(**settings)
    except (ValueError, TypeError, ImportError) as error:
        if not task.extra:
            raise
        raise ConfigurationInvalid(
            f"transformers' Trainer refuses spec.hyperparameters.extra: {error}"
        ) from error


def train(
    model: PreTrainedModel,
    examples: OrderedExamples,
    collator: Collator,
    loss: Loss,
    arguments: TrainingArguments,
    watch: Watch,
    resume_from: Path | None,
    group: Group,
) -> None:
    """Run the steps that are left. The watch may end it early."""
    trainer = TaskTrainer(
        loss=loss,
        group=group,
        keep=watch.keep,
        check=watch.check,
        model=model,
        args=arguments,
        train_dataset=examples,
        data_collator=collator,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    gc.freeze()  # accelerate collects garbage several times: over all of torch, seconds of CPU time
    try:
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    finally:
        gc.unfreeze()
