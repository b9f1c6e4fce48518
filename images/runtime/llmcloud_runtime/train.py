"""One attempt of a training job: `python -m llmcloud_runtime.train`, told by LLMCLOUD_TASK.

Reads top-down: take the job in the ledger, fetch the data, train from the last checkpoint,
evaluate, publish. Every stage can be cut off at any moment: the next attempt goes on from what is
durable. It never writes to the Kubernetes API, and never to a path of another attempt.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.api.base import ApiModel
from llmcloud.api.contract import (
    SCRATCH_PATH,
    CheckpointEntry,
    DatasetManifest,
    FileEntry,
    ModelManifest,
    Outcome,
    TrainingResult,
    TrainingTask,
)
from llmcloud.api.names import Reason
from llmcloud.cloud import outcome as outcomes
from llmcloud.cloud import pod
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.errors import OutputOccupied
from llmcloud.cloud.ledger import Ledger
from llmcloud.cloud.manifest import (
    MANIFEST,
    download,
    publish_manifest,
    read_manifest,
    version_path,
)
from llmcloud.cloud.report import Report
from llmcloud_runtime import checkpoints, configuration, gates, schedule
from llmcloud_runtime import group as groups
from llmcloud_runtime.errors import DatasetVersionNotFound, OutOfMemory, PeerLost, Preempted
from llmcloud_runtime.group import Group, lost_peers
from llmcloud_runtime.loader import Loader, StoredDataset
from llmcloud_runtime.model_card import lineage_of
from llmcloud_runtime.progress import Clock, Live
from llmcloud_runtime.resources import cpu_threads, wait_without_spinning
from llmcloud_runtime.shards import TokenShards

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ENV_SCRATCH = "LLMCLOUD_SCRATCH"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """A dataset version: the training split is streamed, the rest is on local disk, verified."""

    manifest: DatasetManifest
    train: Loader
    validation: TokenShards
    tokenizer: Path


def main() -> int:
    wait_without_spinning()
    return pod.run((TrainingTask,), attempt)


def attempt(task: TrainingTask, report: Report) -> Outcome:
    """Run or resume the job; returns what its termination message says."""
    clock, live = Clock(), Live(task.attempt, report.publish)
    configuration.check_architecture(task.architecture)
    group = groups.join(task, end_lost)
    with lost_peers("training together") if group.ranks > 1 else nullcontext():
        return attempt_of_rank(task, group, live, clock)


def end_lost(error: PeerLost) -> None:
    """End the process from a thread: the main one may wait for the lost rank for ever."""
    outcome = outcomes.failure(error)
    outcomes.write(outcome)
    logging.shutdown()
    os._exit(outcomes.exit_code(outcome))


def attempt_of_rank(task: TrainingTask, group: Group, live: Live, clock: Clock) -> Outcome:
    """The part of one rank; rank 0 has the ledger, evaluates and publishes."""
    store = open_store(task.output)
    ledger = Ledger(
        store,
        task.output_path,
        attempt=task.attempt,
        recipe=task.recipe,
        owner_uid=task.owner_uid,
    )
    finished, durable = shared_job(task, store, ledger, group)
    if finished is not None:
        if group.leads:
            publish_manifest(store, task.output_path + MANIFEST, finished)
        return outcome_of(task, store, finished, live, clock, reused=True)
    scratch = Path(os.environ.get(ENV_SCRATCH, SCRATCH_PATH)) / f"rank-{group.rank}"
    scratch.mkdir(exist_ok=True)
    with (
        opened_dataset(task, scratch) as data,
        checkpoints.CheckpointWriter(
            store,
            ledger,
            task.output_path,
            attempt=task.attempt,
            keep=task.checkpoint_keep,
            durable=durable,
            on_durable=live.durable,
            group=group,
        ) as writer,
    ):
        steps = schedule.total_steps(
            task.max_steps, task.epochs, data.train.epoch_sequences, task.global_batch_size
        )
        configuration.check_schedule(task, steps)
        if group.leads:
            writer.sweep()
        start = restore_together(store, task.output_path, durable, scratch / "resume", group)
        if start is not None:
            live.durable(checkpoints.status_of(start[0], store, task.output_path))
            log.info("Resuming from step %d of %d", start[0].step, steps)
        with memory_errors():
            model = train(task, data, steps, start, writer, live, clock, scratch, group)
            group.leave()
            if not group.leads:
                writer.finish()
                return Outcome(succeeded=True, reason=Reason.SUCCEEDED)
            live.update(phase="Evaluating", eta_seconds=None)
            metrics = evaluate(task, data, model)
        manifest = upload(task, store, data, model, steps, metrics, scratch / "model")
    ledger.complete(manifest)
    publish_manifest(store, task.output_path + MANIFEST, manifest)
    return outcome_of(task, store, manifest, live, clock, reused=False)


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
) -> tuple[CheckpointEntry, Path] | None:
    """The checkpoint that rank 0 finds whole, on every rank's disk."""
    start: tuple[CheckpointEntry, Path] | None = None
    if group.leads:
        start = checkpoints.restore(store, output_path, durable, folder)
    chosen = group.shared("resume", lambda: start[0].path if start else "")
    if group.leads or not chosen:
        return start
    wanted = [entry for entry in durable if entry.path == chosen]
    return checkpoints.restore(store, output_path, wanted, folder)


@contextmanager
def opened_dataset(task: TrainingTask, scratch: Path) -> Iterator[Data]:
    """The pinned version. Raises DatasetVersionNotFound, DigestMismatch."""
    store = open_store(task.dataset)
    path = version_path(task.dataset_path, task.dataset_version)
    manifest = read_manifest(store, path + MANIFEST, DatasetManifest)
    if manifest is None:
        raise DatasetVersionNotFound(
            f"Version {task.dataset_version} of dataset {task.dataset_name} is not at "
            f"{store.url(path)}; pin a version that the dataset's status lists."
        )
    configuration.check_dataset(task, manifest)
    folder, length = scratch / "dataset", manifest.sequence_length_tokens
    download(store, path, [*manifest.tokenizer, *manifest.validation], folder)
    validation = [(folder / entry.key, entry.sequences) for entry in manifest.validation]
    stored = StoredDataset(store, path, manifest.train, length)
    with Loader([stored], task.seed, scratch / "shards") as train:
        yield Data(
            manifest,
            train,
            TokenShards(validation, length),
            tokenizer_folder(folder, manifest.tokenizer),
        )


def tokenizer_folder(folder: Path, files: list[FileEntry]) -> Path:
    """Where tokenizer.json lies below the dataset's folder."""
    return next((folder / file.key).parent for file in files if file.key.endswith("tokenizer.json"))


def train(
    task: TrainingTask,
    data: Data,
    steps: int,
    start: tuple[CheckpointEntry, Path] | None,
    writer: checkpoints.CheckpointWriter,
    live: Live,
    clock: Clock,
    scratch: Path,
    group: Group,
) -> "PreTrainedModel":
    """The trained model. Raises Preempted after SIGTERM, when the last checkpoint is durable."""
    import torch
    from transformers.utils import logging as transformers_logging

    from llmcloud_runtime import pretraining
    from llmcloud_runtime.watch import Watch

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(cpu_threads())
    batches = pretraining.batches_for(task, data.manifest, group.ranks)
    model = pretraining.build_model(task, data.manifest)
    sequences = pretraining.OrderedSequences(
        data.train, steps * task.global_batch_size, group.rank, group.ranks
    )
    arguments = pretraining.arguments_for(task, batches, steps, scratch / "run")
    tokens_per_step = task.global_batch_size * data.manifest.sequence_length_tokens
    with stop_signal() as stop, closing(sequences):
        watch = Watch(task, tokens_per_step, writer, live, clock, stop, group)
        resume_from = start[1] if start else None
        pretraining.train(model, sequences, arguments, watch, resume_from, group)
    if watch.stopped:
        writer.finish()
        raise Preempted(
            "Training was asked to stop and saved a checkpoint; the next attempt goes on from it."
        )
    return model


def evaluate(task: TrainingTask, data: Data, model: "PreTrainedModel") -> dict[str, float]:
    """Perplexity on the validation split, and the baselines over the same tokens."""
    from llmcloud_runtime import baselines, evaluation

    if not task.metrics:
        return {}
    began = time.monotonic()
    value = evaluation.perplexity(model, data.validation)
    measured = baselines.measure(data.train, data.validation, data.manifest.vocabulary_size)
    log.info(
        "Perplexity %.2f (unigram %.2f, bigram %.2f) in %.1f s",
        value,
        measured.unigram,
        measured.bigram,
        time.monotonic() - began,
    )
    return {
        "perplexity": value,
        "unigramPerplexity": measured.unigram,
        "bigramPerplexity": measured.bigram,
    }


def upload(
    task: TrainingTask,
    store: Store,
    data: Data,
    model: "PreTrainedModel",
    steps: int,
    metrics: dict[str, float],
    folder: Path,
) -> ModelManifest:
    """Write the model's folder and upload it; nobody sees it yet."""
    from llmcloud_runtime import publication

    lineage = lineage_of(task, steps, data.manifest.tokenizer_digest)
    results = gates.judge(task.metrics, metrics)
    publication.write_model(model, data.tokenizer, task, data.manifest, lineage, metrics, folder)
    passed = all(result.passed for result in results)
    return publication.upload_model(store, task, folder, lineage, metrics, passed)


def outcome_of(
    task: TrainingTask,
    store: Store,
    manifest: ModelManifest,
    live: Live,
    clock: Clock,
    *,
    reused: bool,
) -> Outcome:
    """The success of an attempt; a gate that is not passed is in `reason` and `passed`."""
    results = gates.judge(task.metrics, manifest.metrics)
    passed = all(result.passed for result in results)
    failing = [f"{result.name} {result.value:.4g}" for result in results if not result.passed]
    return Outcome(
        succeeded=True,
        reason=Reason.SUCCEEDED if passed else Reason.GATE_NOT_PASSED,
        message="" if passed else f"The model is outside its bounds: {', '.join(failing)}.",
        training=TrainingResult(
            model_url=store.url(task.output_path + manifest.path),
            model_digest=manifest.digest,
            model_path=task.output_path,
            tokenizer_digest=manifest.lineage["tokenizerDigest"],
            steps=int(manifest.lineage["steps"]),
            passed=passed,
            metrics=results,
            baselines=gates.baselines(manifest.metrics),
            checkpoint=live.checkpoint,
            productive_seconds=round(clock.productive_seconds),
            startup_seconds=round(clock.startup_seconds),
            checkpoint_seconds=round(clock.stalled_seconds),
            reused=reused,
        ),
    )


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """While training, SIGTERM does not interrupt but asks: the current step is finished."""
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def memory_errors() -> Iterator[None]:
    """torch's ways to say that memory is short become OutOfMemory."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            "The accelerator ran out of memory; lower spec.model.architecture's sizes or the "
            "dataset's sequenceLength, or choose a larger spec.resources.accelerator."
        ) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory("The host ran out of memory; raise spec.resources.memory.") from error


if __name__ == "__main__":
    sys.exit(main())
