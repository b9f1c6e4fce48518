"""What an attempt tells about itself while it runs: its progress, and where its time went."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmcloud.api.contract import CheckpointStatus, Progress, Spent


@dataclass
class Clock:
    """Where the seconds of an attempt went (monotonic).

    Used by the thread that trains; `durable` by that which uploads.
    """

    began: float = field(default_factory=time.monotonic)
    first_step: float | None = None
    """When the first step could begin."""
    trained_seconds: float = 0.0
    """Spent in steps, with those of the attempts that this one goes on from."""
    stalled_seconds: float = 0.0
    """Training stood still for a checkpoint."""
    durable_seconds: float = 0.0
    """The part of `trained_seconds` whose result is durable."""
    _mark: float = 0.0
    _saved: dict[int, float] = field(default_factory=dict)

    def go_on(self, productive_seconds: float) -> None:
        """Training goes on from a checkpoint to which steps of so many seconds led."""
        self.trained_seconds = self.durable_seconds = productive_seconds

    def begin(self) -> None:
        """The first step begins."""
        self.first_step = self._mark = time.monotonic()

    def step(self) -> None:
        """A step was made."""
        self.trained_seconds += self._passed()

    def saving(self, step: int) -> None:
        """Training stands still for the checkpoint of `step`."""
        self._saved[step] = self.trained_seconds

    def resumed(self) -> None:
        """Training goes on; the checkpoint is on its way."""
        self.stalled_seconds += self._passed()

    def productive_seconds(self, step: int) -> int:
        """Of the steps that led to the checkpoint of `step`, which is being made."""
        return round(self._saved[step])

    def durable(self, step: int) -> None:
        """The checkpoint of `step` is in the store."""
        self.durable_seconds = self._saved.pop(step)

    def finish(self) -> None:
        """What was trained is in the store as a model."""
        self.durable_seconds = self.trained_seconds

    @property
    def spent(self) -> Spent:
        """As the operator is told."""
        now = time.monotonic()
        return Spent(
            startup_seconds=round((self.first_step or now) - self.began),
            productive_seconds=round(self.durable_seconds),
            checkpoint_seconds=round(self.stalled_seconds),
            elapsed_seconds=round(now - self.began),
        )

    def _passed(self) -> float:
        now = time.monotonic()
        passed, self._mark = now - self._mark, now
        return passed


class Live:
    """The progress of one attempt, published whole at each change. Safe in several threads."""

    def __init__(self, attempt: int, publish: Callable[[Progress], None]) -> None:
        self._progress = Progress(attempt=attempt)
        self._publish = publish
        self._lock = threading.Lock()

    def update(self, **changes: Any) -> None:
        """Set members of `Progress`; those of value None are not known any more."""
        with self._lock:
            self._progress = self._progress.model_copy(update=changes)
            self._publish(self._progress)

    def durable(self, checkpoint: CheckpointStatus) -> None:
        self.update(checkpoint=checkpoint)

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def checkpoint(self) -> CheckpointStatus | None:
        return self._progress.checkpoint
