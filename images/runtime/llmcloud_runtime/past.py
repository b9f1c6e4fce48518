"""What a job has behind it when an attempt takes it: its model, or the checkpoint to go on from.

Rank 0 looks; the others follow.
"""

from pathlib import Path

from llmcloud.api.base import ApiModel
from llmcloud.api.contract import CheckpointEntry, ModelManifest, TrainingTask
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import OutputOccupied, StoreUnreachable
from llmcloud.cloud.ledger import Ledger
from llmcloud.cloud.manifest import MANIFEST, read_manifest
from llmcloud_runtime import checkpoints
from llmcloud_runtime.group import Group
from llmcloud_runtime.progress import Clock, Live

TOLD_STEPS = 8


def take_job(
    task: TrainingTask, store: Store, ledger: Ledger
) -> tuple[ModelManifest | None, list[CheckpointEntry]]:
    """The model, if this recipe has one already; else the job is ours, with its checkpoints.

    Raises OutputOccupied, Fenced.
    """
    manifest = read_manifest(store, task.output_path + MANIFEST, ModelManifest)
    if manifest is not None and manifest.recipe != task.recipe:
        raise OutputOccupied(
            f"{store.url(task.output_path)} holds the model of another specification; choose "
            f"another spec.output.store.path."
        )
    if manifest is not None:
        return manifest, []
    past = ledger.begin()
    return past.complete, past.checkpoints


def shared_job(
    task: TrainingTask, store: Store, ledger: Ledger, group: Group
) -> tuple[ModelManifest | None, list[CheckpointEntry]]:
    """What rank 0 finds when it takes the job, on all ranks. Raises as `take_job` does."""

    def taken() -> str:
        finished, durable = take_job(task, store, ledger)
        return _Taken(finished=finished, durable=durable).model_dump_json(by_alias=True)

    found = _Taken.model_validate_json(group.shared("job", taken))
    return found.finished, found.durable


class _Taken(ApiModel):
    finished: ModelManifest | None
    durable: list[CheckpointEntry]


def restore_together(
    store: Store,
    output_path: str,
    durable: list[CheckpointEntry],
    folder: Path,
    group: Group,
    aside: list[CheckpointEntry],
) -> tuple[CheckpointEntry, Path] | None:
    """The checkpoint that rank 0 finds whole, on every rank's disk; `aside` gets those it does
    not.

    Raises StoreUnreachable if another rank does not find it whole: all begin at the same step.
    """
    start: tuple[CheckpointEntry, Path] | None = None
    if group.leads:
        start = checkpoints.restore(store, output_path, durable, folder, aside)
    chosen = group.shared("resume", lambda: start[0].path if start else "")
    if group.leads or not chosen:
        return start
    wanted = [entry for entry in durable if entry.path == chosen]
    start = checkpoints.restore(store, output_path, wanted, folder)
    if start is None:
        raise StoreUnreachable(
            f"Rank {group.rank} could not read {store.url(output_path + chosen)} whole, which rank "
            "0 could; the next attempt looks at it again."
        )
    return start


def begin(
    task: TrainingTask,
    store: Store,
    writer: checkpoints.CheckpointWriter,
    durable: list[CheckpointEntry],
    live: Live,
    clock: Clock,
    scratch: Path,
    group: Group,
) -> tuple[CheckpointEntry, Path] | None:
    """The checkpoint that training goes on from, on local disk; None: from the first step."""
    if group.leads:
        writer.sweep()
    aside: list[CheckpointEntry] = []
    start = restore_together(store, task.output_path, durable, scratch / "resume", group, aside)
    if start is not None:
        live.durable(checkpoints.status_of(start[0], store, task.output_path))
        clock.go_on(start[0].productive_seconds)
    if aside:
        steps = ", ".join(str(entry.step) for entry in aside[:TOLD_STEPS])
        steps += " and others" if len(aside) > TOLD_STEPS else ""
        since = f"the checkpoint of step {start[0].step}" if start is not None else "the beginning"
        live.update(
            note=f"The checkpoints of these steps are corrupt or gone and were left aside: "
            f"{steps}; training goes on from {since}."
        )
    return start
