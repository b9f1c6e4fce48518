"""What happens between two steps: progress, checkpoints when they are due, stopping.

The Trainer asks at every step; nothing here computes on tensors.
"""

import threading
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmcloud.api.contract import TrainingTask
from llmcloud_runtime.checkpoints import CheckpointWriter
from llmcloud_runtime.divergence import divergence, has_diverged
from llmcloud_runtime.flops import Work
from llmcloud_runtime.group import Group
from llmcloud_runtime.hang import HangWatch
from llmcloud_runtime.progress import Clock, Live
from llmcloud_runtime.snapshot import Snapshot, seed_step


class Watch(TrainerCallback):
    """The Trainer's callback. `stop` is set by SIGTERM: one more checkpoint, then the end.

    `stopped`: the training ended because this rank or another was told to.
    """

    def __init__(
        self,
        task: TrainingTask,
        tokens_per_step: int,
        writer: CheckpointWriter,
        live: Live,
        clock: Clock,
        stop: threading.Event,
        group: Group,
        hang: HangWatch,
        work: Work | None,
    ) -> None:
        self._task = task
        self._tokens_per_step = tokens_per_step
        self._writer = writer
        self._live = live
        self._clock = clock
        self._stop = stop
        self._group = group
        self._hang = hang
        self._work = work
        self.stopped = False
        self._first_step = 0
        self._last_save = time.monotonic()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        self._first_step = state.global_step
        self._last_save = time.monotonic()
        self._clock.begin()
        self._live.update(
            phase="Running",
            step=state.global_step,
            total_steps=state.max_steps,
            percent=100 * state.global_step // state.max_steps,
            spent=self._clock.spent,
        )

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        seed_step(self._task.seed, state.global_step, self._group.rank)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        self._writer.check()
        self._hang.step()
        self._clock.step()
        self._report(state)
        stop, save = self._group.agree(
            stop=self._stop.is_set(), due=self._due(state.global_step), busy=self._writer.busy
        )
        if stop:
            self.stopped = control.should_training_stop = True
        last = control.should_training_stop or state.global_step >= state.max_steps
        control.should_save = last or save

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        del state.log_history[:-100]  # every checkpoint carries it
        if logs is None or "loss" not in logs:
            return
        self._live.update(loss=logs["loss"], learning_rate=logs["learning_rate"])

    def check(self, state: TrainerState, loss: float, gradient_norm: float) -> None:
        """Raise LossNotFinite before the step is saved, once what is on its way is durable."""
        if not has_diverged(loss, gradient_norm):
            return
        with self._hang.paused():
            self._writer.finish()
        kept = self._live.checkpoint
        raise divergence(state.global_step, state.max_steps, loss, gradient_norm, kept)

    def keep(self, snapshot: Snapshot) -> None:
        """A checkpoint is on its way: the rest is the writer's."""
        self._clock.saving(snapshot.step)
        with self._hang.paused():  # the store may be slow to take the one before
            self._writer.submit(snapshot)
        self._clock.resumed()
        self._last_save = time.monotonic()

    def _due(self, step: int) -> bool:
        every_steps = self._task.checkpoint_every_steps
        if every_steps is not None:
            return step % every_steps == 0
        every_seconds = self._task.checkpoint_every_seconds
        return every_seconds is not None and time.monotonic() - self._last_save >= every_seconds

    def _report(self, state: TrainerState) -> None:
        step, total = state.global_step, state.max_steps
        begun = self._clock.first_step
        assert begun is not None, "on_train_begin comes first"
        seconds = max(time.monotonic() - begun, 1e-6)
        per_second = (step - self._first_step) / seconds
        self._live.update(
            step=step,
            percent=100 * step // total,
            eta_seconds=round((total - step) / per_second),
            tokens_per_second=round(per_second * self._tokens_per_step),
            tokens_seen=step * self._tokens_per_step,
            spent=self._clock.spent,
            mfu=self._work.utilization(per_second) if self._work is not None else None,
        )
