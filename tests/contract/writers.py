"""Real writers, small enough to be killed by the hundred, and what a reader sees of them.

They run as processes forked from one that has imported all this.
"""

import logging
import multiprocessing
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from boto3.s3.transfer import TransferConfig

from llmcloud.api.contract import (
    Architecture,
    DatasetManifest,
    DatasetTask,
    FileEntry,
    LedgerEntry,
    ModelInput,
    ModelManifest,
    Progress,
    SourceTask,
    StoreLocation,
    TrainingTask,
)
from llmcloud.api.dataset import Deduplicate, Prepare, Split
from llmcloud.cloud import azure_client, gcs, s3
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.errors import TaskError
from llmcloud.cloud.ledger import Ledger, history
from llmcloud.cloud.manifest import (
    MANIFEST,
    files_digest,
    publish_manifest,
    read_manifest,
    upload_folder,
    version_path,
)
from llmcloud.cloud.report import Report
from llmcloud.cloud.s3_client import s3_client
from llmcloud_data.prepare import prepare_in
from llmcloud_runtime.checkpoints import MODELS, CheckpointWriter
from llmcloud_runtime.group import ALONE
from llmcloud_runtime.past import begin, take_job
from llmcloud_runtime.progress import Clock, Live

RECIPE: Final = "sha256:" + "5" * 64
SOURCES: Final = "raw/"
STEPS: Final = 2
KEPT: Final = 1
SMALL_BYTES: Final = 10_000
LARGE_BYTES: Final = 900 * SMALL_BYTES
"""Google's SDK sends up to 8 MiB in one request."""
UPLOAD_PART_BYTES: Final = 5 * 2**20
"""The least that S3 takes."""
TIMEOUT_SECONDS: Final = 2
REFUSED: Final = 3
"""Exit code of a writer that the store refused."""

s3_client(StoreLocation(name="first", provider="aws", bucket="none"))
"""The description of S3 takes long to parse: once, before there are forks."""
LAUNCH: Final = multiprocessing.get_context("forkserver")
LAUNCH.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Published:
    """What a reader sees: the folder of a version, a model or a checkpoint, and its files."""

    path: str
    files: list[FileEntry]


@dataclass(frozen=True)
class Files:
    """A checkpoint on disk."""

    step: int
    folder: Path

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


def write_sources(store: Store) -> None:
    """What `prepare` reads."""
    for number in range(4):
        words = random.Random(number).choices(["a", "text", "of", "few", "words"], k=200)
        store.put(f"{SOURCES}{number}.txt", " ".join(words).encode())


def prepare(location: StoreLocation, place: str, attempt: int, folder: Path) -> None:
    """A version of a dataset."""
    source = SourceTask(store=location, path=SOURCES, format="text", include=["*"])
    task = DatasetTask(
        owner_uid="uid", recipe=RECIPE, attempt=attempt, sources=[source],
        prepare=Prepare(deduplicate=Deduplicate(), split=Split(validation_fraction=0.2)),
        tokenizer_algorithm="bpe", vocabulary_size=280, sequence_length_tokens=16,
        output=location, output_path=place,
    )  # fmt: skip
    report = Report(Progress(attempt=attempt), port=0)
    prepare_in(folder, task, report)
    report.close()


def train(
    location: StoreLocation, place: str, attempt: int, folder: Path, *, checkpoint_bytes: int
) -> None:
    """Checkpoints and a model, as a trainer uploads them; whatever it computes is left out."""
    task = TrainingTask(
        job="j", namespace="n", owner_uid="uid", attempt=attempt, recipe=RECIPE, code_version="1",
        task="causal-lm", method="pretrain", model=ModelInput(architecture=SHAPE),
        output=location, output_path=place, learning_rate=0.001, warmup_steps=0,
        weight_decay=0.0, global_batch_size=8, precision="auto", seed=0, checkpoint_keep=KEPT,
        metrics=[],
    )  # fmt: skip
    store, live = open_store(location), Live(attempt, lambda progress: None)
    ledger = Ledger(store, place, attempt=attempt, recipe=RECIPE, owner_uid="uid")
    finished, durable = take_job(task, store, ledger)
    if finished is None:
        with CheckpointWriter(
            store, ledger, place, attempt=attempt, keep=KEPT, durable=durable,
            on_durable=live.durable, productive_seconds=lambda step: 0, group=ALONE,
        ) as writer:  # fmt: skip
            start = begin(task, store, writer, durable, live, Clock(), folder, ALONE)
            for step in range(start[0].step + 1 if start else 1, STEPS + 1):
                writer.submit(Files(step, filled(folder / f"step-{step}", checkpoint_bytes)))
        path = f"{MODELS}a{attempt}/"
        files = upload_folder(store, filled(folder / "model", SMALL_BYTES), place + path)
        finished = ModelManifest(
            digest=files_digest(files), recipe=RECIPE, attempt=attempt, kind="full", path=path,
            files=files, lineage={}, metrics={}, passed=True,
        )  # fmt: skip
        ledger.complete(finished)
    publish_manifest(store, place + MANIFEST, finished)


def filled(folder: Path, size_bytes: int) -> Path:
    """Two files, one of them of that size, the same in every attempt."""
    folder.mkdir(parents=True)
    block = random.Random(size_bytes).randbytes(SMALL_BYTES)
    (folder / "0.safetensors").write_bytes(block * (size_bytes // SMALL_BYTES))
    (folder / "1.safetensors").write_bytes(block)
    return folder


Writer = Callable[[StoreLocation, str, int, Path], None]
SHAPE: Final = Architecture(family="llama", hidden_size=64, layers=2, heads=4, context_length=128)
WRITERS: Final[Mapping[str, Writer]] = {
    "dataset": prepare,
    "model": partial(train, checkpoint_bytes=SMALL_BYTES),
    "large checkpoint": partial(train, checkpoint_bytes=LARGE_BYTES),
}


def write(
    kind: str,
    location: StoreLocation,
    place: str,
    attempt: int,
    folder: Path,
    timeout_seconds: float | None,
) -> None:
    """Runs in a process of its own: large files go in small parts."""
    logging.disable()
    size = UPLOAD_PART_BYTES
    parts = TransferConfig(multipart_threshold=size, multipart_chunksize=size)
    for module, name, value in [
        (s3, "MULTIPART", parts),
        (gcs, "PART_BYTES", size),
        (azure_client, "PART_BYTES", size),
    ]:
        setattr(module, name, value)
    if timeout_seconds is not None:
        open_store.__kwdefaults__ = {"read_timeout_seconds": timeout_seconds}
    try:
        WRITERS[kind](location, place, attempt, folder)
    except TaskError:
        sys.exit(REFUSED)


def published(store: Store, place: str) -> dict[str, Published]:
    """What a reader finds below `place`."""
    found = {}
    slots = [read_manifest(store, info.path, LedgerEntry) for info in store.list(f"{place}ledger/")]
    past = history([slot for slot in slots if slot is not None], RECIPE)
    for checkpoint in past.checkpoints[:KEPT]:
        found["checkpoint"] = Published(place + checkpoint.path, checkpoint.files)
    for model in (past.complete, read_manifest(store, place + MANIFEST, ModelManifest)):
        if model is not None:
            found["model"] = Published(place + model.path, model.files)
    for info in store.list(f"{place}versions/"):
        if info.path.endswith(f"/{MANIFEST}"):
            version = read_manifest(store, info.path, DatasetManifest)
            assert version is not None
            files = [*version.tokenizer, *version.train, *version.validation]
            found["version"] = Published(version_path(place, version.version), files)
    return found
