"""One attempt of a training job: `python -m llmcloud_runtime.train`, told by LLMCLOUD_TASK.

Reads top-down: take the job in the ledger, fetch data and models, train from the last checkpoint,
evaluate, publish. Every stage can be cut off at any moment: the next attempt goes on from what is
durable. It never writes to the Kubernetes API, and never to a path of another attempt.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcloud.api.contract import (
    SCRATCH_PATH,
    CheckpointEntry,
    CheckpointStatus,
    ModelKind,
    ModelManifest,
    Outcome,
    TrainingResult,
    TrainingTask,
)
from llmcloud.api.names import Reason
from llmcloud.cloud import pod
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.ledger import Ledger
from llmcloud.cloud.manifest import MANIFEST, publish_manifest
from llmcloud.cloud.report import Report
from llmcloud_runtime import checkpoints, configuration, gates, launch, past, schedule
from llmcloud_runtime import group as groups
from llmcloud_runtime.data import Data, opened_data
from llmcloud_runtime.endings import end_now, hang_watch, last_lines_kept, stop_signal
from llmcloud_runtime.errors import OutOfMemory, Preempted
from llmcloud_runtime.flops import work_of
from llmcloud_runtime.group import Group, lost_peers
from llmcloud_runtime.model_card import lineage_of
from llmcloud_runtime.progress import Clock, Live
from llmcloud_runtime.records import ExampleReader, Mixture
from llmcloud_runtime.resources import cpu_threads, prepare_process
from llmcloud_runtime.shards import TokenShards

if TYPE_CHECKING:
    from llmcloud_runtime.evaluation import Measured
    from llmcloud_runtime.preparation import Prepared

ENV_SCRATCH = "LLMCLOUD_SCRATCH"
SAMPLED_EXAMPLES = 64

log = logging.getLogger(__name__)


def main() -> int:
    prepare_process()
    of_ranks = launch.task_of_ranks()
    if of_ranks is not None:
        return launch.launch(of_ranks.processes, of_ranks.grace_seconds)
    return pod.run((TrainingTask,), attempt)


def attempt(task: TrainingTask, report: Report) -> Outcome:
    """Run or resume the job; returns what its termination message says."""
    clock, live = Clock(), Live(task.attempt, report.publish)
    configuration.check_task(task)
    with last_lines_kept(task, groups.rank_of(task)):
        group = groups.join(task, partial(end_now, live=live))
        with lost_peers("training together") if group.ranks > 1 else nullcontext():
            return attempt_of_rank(task, group, live, clock)


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
    finished, durable = past.shared_job(task, store, ledger, group)
    if finished is not None:
        if group.leads:
            publish_manifest(store, task.output_path + MANIFEST, finished)
        live.update(spent=clock.spent)
        return outcome_of(task, store, finished, live, reused=True)
    scratch = Path(os.environ.get(ENV_SCRATCH, SCRATCH_PATH)) / f"rank-{group.rank}"
    scratch.mkdir(exist_ok=True)
    with opened_data(task, scratch) as (learned, judged), memory_errors(), ExitStack() as stack:
        prepared = prepare(task, learned, judged, scratch)
        live.update(models=dict(prepared.models))
        steps = 0
        if task.method != "evaluate":
            writer = stack.enter_context(
                checkpoints.CheckpointWriter(
                    store,
                    ledger,
                    task.output_path,
                    attempt=task.attempt,
                    keep=task.checkpoint_keep,
                    durable=durable,
                    on_durable=partial(made_durable, live, clock),
                    productive_seconds=clock.productive_seconds,
                    group=group,
                )
            )
            start = past.begin(task, store, writer, durable, live, clock, scratch, group)
            steps, model = learn(
                task, learned, prepared, start, writer, live, clock, scratch, group
            )
            prepared = replace(prepared, model=model)
        group.leave()
        if not group.leads:
            return Outcome(succeeded=True, reason=Reason.SUCCEEDED)
        live.update(phase="Evaluating", eta_seconds=None)
        measured = evaluate(task, learned, judged, prepared)
    manifest = upload(task, store, prepared, steps, measured, scratch / "model")
    ledger.complete(manifest)
    publish_manifest(store, task.output_path + MANIFEST, manifest)
    clock.finish()
    live.update(spent=clock.spent)
    return outcome_of(task, store, manifest, live, reused=False)


def made_durable(live: Live, clock: Clock, checkpoint: CheckpointStatus) -> None:
    """A checkpoint is in the store: the steps until then are not lost any more."""
    clock.durable(checkpoint.step)
    live.update(checkpoint=checkpoint, spent=clock.spent)


def prepare(task: TrainingTask, learned: Data, judged: Data, scratch: Path) -> "Prepared":
    """Load models and tokenizer; everything that does not fit is refused here."""
    import torch
    from transformers.utils import logging as transformers_logging

    from llmcloud_runtime import preparation

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(cpu_threads(task.processes))
    return preparation.prepare(task, learned, judged, scratch)


def learn(
    task: TrainingTask,
    data: Data,
    prepared: "Prepared",
    start: tuple[CheckpointEntry, Path] | None,
    writer: checkpoints.CheckpointWriter,
    live: Live,
    clock: Clock,
    scratch: Path,
    group: Group,
) -> tuple[int, Any]:
    """Train on from `start`; the number of steps of the whole training, and on rank 0 the model.

    Raises Preempted after SIGTERM, when the last checkpoint is durable.
    """
    from llmcloud_runtime import sharding, training
    from llmcloud_runtime.watch import Watch

    steps = schedule.total_steps(
        task.max_steps, task.epochs, data.epoch_examples, task.global_batch_size
    )
    configuration.check_schedule(task, steps)
    if start is not None:
        log.info("Resuming from step %d of %d", start[0].step, steps)
    end = steps * task.global_batch_size
    batches = training.batches_for(
        task.global_batch_size, prepared.length_tokens, prepared.outputs, group.ranks
    )
    arguments = training.arguments_for(task, batches, steps, scratch / "run")
    length_tokens = mean_tokens(data, prepared)
    tokens_per_step = round(task.global_batch_size * length_tokens)
    peak = task.peak_teraflops.get(training.precision_name(task.precision))
    work = work_of(prepared.shape, length_tokens, tokens_per_step, peak, group.ranks)
    shards = sharding.sharded(task, prepared.model, group)
    with (
        closing(data.reader(task.seed, end, group)) as reader,
        stop_signal() as stop,
        hang_watch(task, group, live) as hang,
    ):
        examples = training.OrderedExamples(reader.sequence, prepared.encode, task.seed, end, group)
        watch = Watch(task, tokens_per_step, writer, live, clock, stop, group, hang, work)
        training.train(
            prepared.model,
            examples,
            prepared.collator,
            prepared.loss,
            arguments,
            watch,
            start[1] if start else None,
            group,
        )
    if watch.stopped:
        writer.finish()
        group.leave()
        raise Preempted(
            "Training was asked to stop and saved a checkpoint; the next attempt goes on from it."
        )
    return steps, prepared.model if shards is None else shards.whole()


def mean_tokens(data: Data, prepared: "Prepared") -> float:
    """Tokens of an example: of packed sequences exactly, of others the mean of a few."""
    if not isinstance(data.train, Mixture):
        return data.manifest.sequence_length_tokens
    reader = ExampleReader(data.train, 0, 0, 1)
    places = range(min(SAMPLED_EXAMPLES, len(data.train)))
    encoded = (prepared.encode(reader.sequence(place), (0, place)) for place in places)
    return sum(len(features["input_ids"]) for features in encoded) / len(places)


def evaluate(task: TrainingTask, learned: Data, judged: Data, prepared: "Prepared") -> "Measured":
    """The wanted metrics, and what simple answers and the untrained model reach."""
    from llmcloud_runtime import baselines
    from llmcloud_runtime.evaluation import Measured
    from llmcloud_runtime.methods import ADAPTING

    if not task.metrics:
        return Measured({})
    began = time.monotonic()
    judge = prepared.judge
    found = judge.measure(prepared.model)
    compared = judge.base(prepared.model) if task.method in ADAPTING else {}
    if isinstance(learned.train, Mixture):
        compared |= judge.simple(learned.train)
    elif learned.train is not None and isinstance(judged.validation, TokenShards):
        compared |= baselines.perplexities(
            learned.train, judged.validation, learned.manifest.vocabulary_size, task.task
        )
    log.info("%s in %.1f s", dict(found.metrics) | compared, time.monotonic() - began)
    return Measured(found.metrics, found.groups, compared)


def upload(
    task: TrainingTask,
    store: Store,
    prepared: "Prepared",
    steps: int,
    measured: "Measured",
    folder: Path,
) -> ModelManifest:
    """Write the model's folder and upload it; nobody sees it yet."""
    from llmcloud_runtime import publication

    kind: ModelKind = "report"
    if task.method != "evaluate":
        model = publication.merged(task, prepared.model)
        kind = publication.write_model(
            model, prepared.tokenizer, task, prepared.models.get("model", ""), folder
        )
    metrics = {**measured.metrics, **measured.baselines}
    results = gates.judge(task.metrics, metrics)
    lineage = lineage_of(task, steps, prepared.tokenizer_digest, prepared.models)
    shape = publication.shape_of(prepared.model)
    publication.write_report(task, lineage, metrics, measured.groups, shape, folder)
    passed = all(result.passed for result in results)
    return publication.upload_model(
        store, task, folder, kind, lineage, metrics, measured.groups, passed
    )


def outcome_of(
    task: TrainingTask,
    store: Store,
    manifest: ModelManifest,
    live: Live,
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
            model_kind=manifest.kind,
            tokenizer_digest=manifest.lineage["tokenizerDigest"] or None,
            steps=int(manifest.lineage["steps"]),
            passed=passed,
            metrics=results,
            groups=manifest.groups,
            baselines=gates.baselines(manifest.metrics),
            checkpoint=live.checkpoint,
            reused=reused,
        ),
    )


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
