"""One attempt at one version of a dataset: read, split, train the tokenizer, pack, publish.

What is published is decided by the input alone, so any attempt's result is as good as another's:
whichever manifest is created first is the version, and the others adopt it.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from llmcloud.api.contract import (
    SCRATCH_PATH,
    DatasetManifest,
    DatasetResult,
    DatasetTask,
    FileEntry,
    Outcome,
    Progress,
    ShardEntry,
)
from llmcloud.api.names import Reason
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.errors import ConfigurationInvalid, DigestMismatch, SourceEmpty
from llmcloud.cloud.manifest import (
    MANIFEST,
    dataset_version,
    files_digest,
    publish_manifest,
    read_manifest,
    sha256_of,
    upload_folder,
    version_path,
)
from llmcloud.cloud.report import Report
from llmcloud_data import shards, tokens
from llmcloud_data.documents import Split, split
from llmcloud_data.shards import Shard
from llmcloud_data.sources import SourceFile, describe, list_sources, read_sources

ENV_SCRATCH: Final = "LLMCLOUD_SCRATCH"
PERCENT_READ: Final = 40
PERCENT_TOKENIZER: Final = 60
PERCENT_PACKED: Final = 95

log = logging.getLogger(__name__)


def prepare(task: DatasetTask, report: Report) -> Outcome:
    """Prepare with the scratch folder of the environment."""
    return prepare_in(Path(os.environ.get(ENV_SCRATCH, SCRATCH_PATH)) / "dataset", task, report)


def prepare_in(scratch: Path, task: DatasetTask, report: Report) -> Outcome:
    """Idempotent: a version that is there and whole is reused. `scratch` is emptied first."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    progress = _Percent(report, task.attempt)
    store = open_store(task.output)
    files = _read(task, scratch / "sources", progress)
    version = dataset_version(task.recipe, (source.entry for source in files))
    folder = version_path(task.output_path, version)
    manifest = read_manifest(store, folder + MANIFEST, DatasetManifest)
    reused = manifest is not None
    if manifest is None:
        mine = _build(task, store, folder, version, files, scratch, progress)
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
        reused=reused,
    )


class _Percent:
    """Progress of the whole work; the shares of its steps are estimates."""

    def __init__(self, report: Report, attempt: int) -> None:
        self._report = report
        self._attempt = attempt
        self.set(0)

    def set(self, percent: float) -> None:
        self._report.publish(Progress(phase="Running", attempt=self._attempt, percent=int(percent)))


def _read(task: DatasetTask, folder: Path, progress: _Percent) -> list[SourceFile]:
    objects = list_sources(task.sources)
    total_bytes = sum(item.info.bytes for item in objects)
    log.info("Reading %d objects, %d bytes", len(objects), total_bytes)
    read_bytes = 0

    def advance(object_bytes: int) -> None:
        nonlocal read_bytes
        read_bytes += object_bytes
        progress.set(PERCENT_READ * read_bytes / max(1, total_bytes))

    return read_sources(objects, folder, advance)


def _build(
    task: DatasetTask,
    store: Store,
    folder: str,
    version: str,
    files: list[SourceFile],
    scratch: Path,
    progress: _Percent,
) -> DatasetManifest:
    """Make the version's files and upload them below `a<attempt>/`; the manifest is not written."""
    documents = split(files, task.validation_fraction)
    if not documents.train:
        raise SourceEmpty(
            f"None of the {len(files)} objects of {describe(task.sources)} is a text "
            f"({documents.rejected}); texts are UTF-8 and not empty."
        )
    log.info("Training the tokenizer on %d documents", len(documents.train))
    tokenizer = tokens.train((source.file for source in documents.train), task.vocabulary_size)
    tokens.save(tokenizer, scratch / "tokenizer", task.sequence_length_tokens)
    progress.set(PERCENT_TOKENIZER)
    attempt = f"a{task.attempt}/"
    tokenizer_files = upload_folder(store, scratch / "tokenizer", f"{folder}{attempt}tokenizer/")
    packed = _Packing(task, store, folder, tokenizer, scratch, progress, documents)
    train = packed.upload("train", documents.train)
    validation = packed.upload("validation", documents.validation)
    if not train:
        raise ConfigurationInvalid(
            f"The texts of {describe(task.sources)} are shorter than one sequence of "
            f"{task.sequence_length_tokens} tokens; add texts, or lower spec.sequenceLength."
        )
    length = task.sequence_length_tokens
    return DatasetManifest(
        version=version,
        recipe=task.recipe,
        attempt=task.attempt,
        sources=[source.entry for source in files],
        documents=len(documents.train) + len(documents.validation),
        validation_documents=len(documents.validation),
        tokens=sum(shard.sequences for shard in train) * length,
        validation_tokens=sum(shard.sequences for shard in validation) * length,
        sequence_length_tokens=length,
        vocabulary_size=tokenizer.get_vocab_size(),
        end_of_text_id=tokens.end_of_text_id(tokenizer),
        rejected=documents.rejected,
        tokenizer_digest=files_digest(tokenizer_files),
        tokenizer=[_below(f"{attempt}tokenizer/", entry) for entry in tokenizer_files],
        train=train,
        validation=validation,
    )


class _Packing:
    """Packs and uploads shard by shard, so scratch holds one shard at a time."""

    def __init__(
        self,
        task: DatasetTask,
        store: Store,
        folder: str,
        tokenizer: Tokenizer,
        scratch: Path,
        progress: _Percent,
        documents: Split,
    ) -> None:
        self._task = task
        self._store = store
        self._folder = folder
        self._tokenizer = tokenizer
        self._scratch = scratch
        self._progress = progress
        self._total_bytes = sum(
            source.entry.bytes for source in documents.train + documents.validation
        )
        self._packed_bytes = 0

    def upload(self, name: str, documents: list[SourceFile]) -> list[ShardEntry]:
        log.info("Packing %d documents for %s", len(documents), name)
        stream = tokens.encode(self._tokenizer, self._taken(documents))
        length = self._task.sequence_length_tokens
        return [
            self._upload(f"a{self._task.attempt}/{name}/{shard.file.name}", shard)
            for shard in shards.pack(stream, self._scratch / name, length)
        ]

    def _taken(self, documents: list[SourceFile]) -> Iterator[Path]:
        for source in documents:
            yield source.file
            self._packed_bytes += source.entry.bytes
            share = self._packed_bytes / max(1, self._total_bytes)
            self._progress.set(PERCENT_TOKENIZER + share * (PERCENT_PACKED - PERCENT_TOKENIZER))

    def _upload(self, key: str, shard: Shard) -> ShardEntry:
        entry = ShardEntry(
            key=key,
            bytes=shard.file.stat().st_size,
            sha256=sha256_of(shard.file),
            sequences=shard.sequences,
        )
        self._store.put(self._folder + key, shard.file)
        shard.file.unlink()
        return entry


def _below(folder: str, entry: FileEntry) -> FileEntry:
    return entry.model_copy(update={"key": folder + entry.key})


def _files(manifest: DatasetManifest) -> list[FileEntry]:
    return [*manifest.tokenizer, *manifest.train, *manifest.validation]


def _drop_unless_winner(
    store: Store, folder: str, mine: DatasetManifest, winner: DatasetManifest
) -> None:
    """Remove this attempt's files where another attempt's manifest was first."""
    if winner.attempt != mine.attempt:
        for entry in _files(mine):
            store.delete(folder + entry.key)
