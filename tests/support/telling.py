"""What a trainer tells of itself."""

from llmcloud.api.contract import CheckpointStatus, Progress, Spent


def spent(*, startup: int, productive: int, checkpoint: int, elapsed: int) -> Spent:
    """Where an attempt's seconds went."""
    return Spent(
        startup_seconds=startup, productive_seconds=productive, checkpoint_seconds=checkpoint,
        elapsed_seconds=elapsed,
    )  # fmt: skip


def told(spent: Spent | None = None, *, attempt: int = 1, step: int = 50) -> Progress:
    """What a trainer tells after so many of a hundred steps."""
    saved = CheckpointStatus(step=40, url="s3://c/40/", time="2026-05-01T12:00:00Z", bytes=9)
    return Progress(
        phase="Running", attempt=attempt, step=step, total_steps=100, percent=step, loss=3.5,
        tokens_seen=1000, checkpoint=saved, spent=spent, mfu=0.4,
    )  # fmt: skip
