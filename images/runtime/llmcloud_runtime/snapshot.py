"""A Trainer whose checkpoints are copies of its state: sharded, safetensors, written behind it.

PyTorch's distributed checkpoints hold every tensor by its name and offset, so a checkpoint of any
number of ranks, replicated or sharded, is read by any other. They are written in the safetensors
layout: unlike DCP's own, and unlike the Trainer's, nothing in it is a pickle. Training stands
still only while the tensors are copied (`copies`).

Random numbers are a function of the seed, the step and the rank, so none are stored. It overrides
private methods of the pinned transformers.
"""

import json
import random
import warnings
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict
from torch.utils.data import DataLoader
from transformers import Trainer

from llmcloud_runtime.copies import Copies, ShardWriter
from llmcloud_runtime.group import Group

SCHEDULER = "scheduler.json"
TRAINER_STATE = "trainer_state.json"


@dataclass(frozen=True)
class Snapshot:
    """A copy of the training's state that is being written to `folder`."""

    step: int
    folder: Path
    pending: "Future[Any]"
    rank: int

    def files(self) -> list[Path]:
        """Wait until this rank's files are on disk; which they are."""
        self.pending.result()
        own = f"shard-{self.rank + 1:05d}-"
        return sorted(
            file
            for file in self.folder.iterdir()
            if file.name.startswith(own) or (self.rank == 0 and file.suffix == ".json")
        )


class SnapshotTrainer(Trainer):
    """`keep` gets every snapshot as soon as training may go on."""

    def __init__(self, *, group: Group, keep: Callable[[Snapshot], None], **more: Any) -> None:
        self._group, self._keep = group, keep
        self._copies = Copies()
        self._writing: Future[Any] | None = None
        super().__init__(**more)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """`train_dataset` is this rank's own part already: nothing is left to distribute."""
        if self._group.ranks == 1:
            return super().get_train_dataloader()
        return DataLoader(
            self.train_dataset,
            batch_size=self.args.per_device_train_batch_size,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        folder = Path(self.args.output_dir) / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        if self._writing is not None:
            wait([self._writing])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one rank is alone is no surprise
            self._writing = dcp.async_save(
                self._tensors(),
                storage_writer=ShardWriter(folder),
                async_stager=self._copies,
                process_group=self._group.saving,
            )
        if self._group.leads:
            self.state.save_to_json(str(folder / TRAINER_STATE))
            (folder / SCHEDULER).write_text(json.dumps(self.lr_scheduler.state_dict()))
        self._keep(Snapshot(step, folder, self._writing, self._group.rank))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The weights come with the optimizer's state."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(
                self._tensors(),
                storage_reader=HuggingFaceStorageReader(checkpoint),
                process_group=self._group.control,
            )
        self.lr_scheduler.load_state_dict(
            json.loads(Path(checkpoint, SCHEDULER).read_text(encoding="utf-8"))
        )
        rates = self.lr_scheduler.get_last_lr()
        for settings, rate in zip(self.optimizer.param_groups, rates, strict=True):
            settings["lr"] = rate

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Every step sets its own."""

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Weights and the optimizer's state by name; what is loaded into them is loaded."""
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        options = StateDictOptions(ignore_frozen_params=True)
        weights, state = get_state_dict(self.model_wrapped, optimizer, options=options)
        tensors = {f"model.{name}": tensor for name, tensor in weights.items()}
        for name, members in state["state"].items():
            for member, tensor in members.items():
                # A tensor without dimensions cannot be read in slices.
                whole = tensor.reshape(1) if tensor.dim() == 0 else tensor
                tensors[f"optimizer.{name}.{member}"] = whole
        return tensors


def seed_step(seed: int, step: int, rank: int) -> None:
    """Random numbers of one step on one rank, whatever came before."""
    mixed = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)
    value = int(mixed[0]) % 2**63
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)
