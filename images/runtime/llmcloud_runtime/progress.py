"""What an attempt tells about itself while it runs: its progress, and where its time went."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmcloud.api.contract import CheckpointStatus, Progress


@dataclass
class Clock:
    """Where the seconds of an attempt went (monotonic)."""

    began: float = field(default_factory=time.monotonic)
    first_step: float | None = None
    last_step: float | None = None
    stalled_seconds: float = 0.0
    """Training stood still for a checkpoint."""

    @property
    def startup_seconds(self) -> float:
        """Until the first step could begin."""
        return (self.first_step or time.monotonic()) - self.began

    @property
    def productive_seconds(self) -> float:
        """Between the first step's begin and the last one's end, less the stalls."""
        if self.first_step is None or self.last_step is None:
            return 0.0
        return self.last_step - self.first_step - self.stalled_seconds


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
    def checkpoint(self) -> CheckpointStatus | None:
        return self._progress.checkpoint
