"""One attempt at one version of a dataset: read, split, train the tokenizer, pack, publish.

What is published is decided by the input alone, so any attempt's result is as good as another's:
whichever manifest is created first is the version, and the others adopt it.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Final

from llmcloud.api.contract import (
    SCRATCH_PATH,
    DatasetManifest,
    DatasetResult,
    DatasetTask,
    FileEntry,
    Outcome,
)
from llmcloud.api.names import Reason
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.errors import DigestMismatch
from llmcloud.cloud.manifest import (
    MANIFEST,
    dataset_version,
    publish_manifest,
    read_manifest,
    version_path,
)
from llmcloud.cloud.report import Report
from llmcloud_data.build import Build
from llmcloud_data.cleaning import check_languages
from llmcloud_data.progress import PERCENT_READ, Percent
from llmcloud_data.sources import SourceFile, list_sources, read_sources

ENV_SCRATCH: Final = "LLMCLOUD_SCRATCH"

log = logging.getLogger(__name__)


def prepare(task: DatasetTask, report: Report) -> Outcome:
    """Prepare with the scratch folder of the environment."""
    return prepare_in(Path(os.environ.get(ENV_SCRATCH, SCRATCH_PATH)) / "dataset", task, report)


def prepare_in(scratch: Path, task: DatasetTask, report: Report) -> Outcome:
    """Idempotent: a version that is there and whole is reused. `scratch` is emptied first."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    check_languages(task.prepare.clean)
    progress = Percent(report, task.attempt)
    store = open_store(task.output)
    files = _read(task, scratch / "sources", progress)
    version = dataset_version(task.recipe, (source.entry for source in files))
    folder = version_path(task.output_path, version)
    manifest = read_manifest(store, folder + MANIFEST, DatasetManifest)
    reused = manifest is not None
    if manifest is None:
        mine = Build(task, store, folder, version, scratch, progress).run(files)
        manifest = publish_manifest(store, folder + MANIFEST, mine)
        _drop_unless_winner(store, folder, mine, manifest)
    verify(store, folder, manifest)
    progress.set(100)
    log.info("Version %s has %d tokens, reused: %s", version, manifest.tokens, reused)
    return Outcome(succeeded=True, reason=Reason.PREPARED, dataset=result(manifest, reused=reused))


def verify(store: Store, folder: str, manifest: DatasetManifest) -> None:
    """Every file that the manifest names is there with its size. Raises DigestMismatch."""
    there = {info.path.removeprefix(folder): info.bytes for info in store.list(folder)}
    for entry in _files(manifest):
        if there.get(entry.key) != entry.bytes:
            raise DigestMismatch(
                f"{store.url(folder + entry.key)} is missing or cut short, though the manifest "
                f"names it; restore it, or remove {store.url(folder)} to prepare it anew."
            )


def result(manifest: DatasetManifest, *, reused: bool) -> DatasetResult:
    """What the status shows of a version."""
    return DatasetResult(
        version=manifest.version,
        tokenizer_digest=manifest.tokenizer_digest,
        documents=manifest.documents,
        validation_documents=manifest.validation_documents,
        tokens=manifest.tokens,
        bytes=sum(source.bytes for source in manifest.sources),
        shards=len(manifest.train) + len(manifest.validation),
        rejected=manifest.rejected,
        redacted=manifest.redacted,
        reused=reused,
    )


def _read(task: DatasetTask, folder: Path, progress: Percent) -> list[SourceFile]:
    objects = list_sources(task.sources)
    total_bytes = sum(item.info.bytes for item in objects)
    log.info("Reading %d objects, %d bytes", len(objects), total_bytes)
    return read_sources(objects, folder, progress.between(0, PERCENT_READ, total_bytes))


def _files(manifest: DatasetManifest) -> list[FileEntry]:
    return [*manifest.tokenizer, *manifest.train, *manifest.validation]


def _drop_unless_winner(
    store: Store, folder: str, mine: DatasetManifest, winner: DatasetManifest
) -> None:
    """Remove this attempt's files where another attempt's manifest was first."""
    if winner.attempt != mine.attempt:
        for entry in _files(mine):
            store.delete(folder + entry.key)
