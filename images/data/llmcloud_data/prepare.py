"""One worker of one attempt at one version of a dataset.

What is published is decided by the input alone, so any worker's and any attempt's result is as
good as another's: whichever manifest is created first is the version, and the others adopt it.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final

from llmcloud.api.base import digest
from llmcloud.api.contract import (
    SCRATCH_PATH,
    DatasetManifest,
    DatasetResult,
    DatasetTask,
    FileEntry,
    Outcome,
)
from llmcloud.api.names import ANNOTATION_REFRESH, Reason
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.errors import DigestMismatch, ObjectChanged, StoreError
from llmcloud.cloud.manifest import MANIFEST, publish_manifest, read_manifest, version_path
from llmcloud.cloud.report import Report
from llmcloud_data.build import Build
from llmcloud_data.cleaning import check_languages
from llmcloud_data.leftovers import WORK, Began, remove_leftovers
from llmcloud_data.model_tokenizer import ModelTokenizer, fetch_tokenizer
from llmcloud_data.origins import Origins
from llmcloud_data.packed import digest_of
from llmcloud_data.parts import (
    PART_BYTES,
    RELEASE,
    Listing,
    as_listed,
    listing_of,
    part_name,
    parts_of,
)
from llmcloud_data.progress import Percent
from llmcloud_data.sources import SourceObject, list_sources
from llmcloud_data.work import PATIENCE_SECONDS, PUBLISHED, Published, Work, Worker

ENV_SCRATCH: Final = "LLMCLOUD_SCRATCH"
READING: Final = "read/"
"""Where the work on parts lies below a dataset's work, whatever was listed besides them."""
SEEN: Final = "seen.json"
"""Beside a manifest: the newest listing of sources that had the same bytes under other etags."""
ENV_INDEX: Final = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in the pods of an Indexed Job."""

log = logging.getLogger(__name__)


def prepare(task: DatasetTask, report: Report) -> Outcome:
    """Prepare with the scratch folder and as the worker that the environment says."""
    scratch = Path(os.environ.get(ENV_SCRATCH, SCRATCH_PATH)) / "dataset"
    return prepare_in(scratch, task, report, int(os.environ.get(ENV_INDEX, "0")))


def prepare_in(
    scratch: Path,
    task: DatasetTask,
    report: Report,
    index: int = 0,
    *,
    part_bytes: int = PART_BYTES,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Outcome:
    """Idempotent: a version that is there and whole is reused. `scratch` is emptied first."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if task.drop:
        return dropped(open_store(task.output), task)
    check_languages(task.prepare.clean)
    progress = Percent(report, task.attempt)
    store = open_store(task.output)
    worker = Worker(index, task.workers)
    with Origins(task.network, task.hub_endpoint) as origins:
        taken = None
        if task.tokenizer_model is not None:
            taken = fetch_tokenizer(task.tokenizer_model, origins, scratch / "taken")
        objects = list_sources(task.sources, origins)
        manifest = existing(store, task, listing_of(objects, taken.digest if taken else None))
        reused = manifest is not None
        if manifest is None:
            manifest = _prepared(store, task, objects, taken, scratch, progress, worker,
                                 part_bytes, patience_seconds)  # fmt: skip
    folder = version_path(task.output_path, manifest.version)
    verify(store, folder, manifest)
    if index == 0:
        remove_leftovers(store, task.output_path, task.owner_uid, time.time())
    progress.set(100)
    log.info("Version %s has %d tokens, reused: %s", manifest.version, manifest.tokens, reused)
    return Outcome(succeeded=True, reason=Reason.PREPARED, dataset=result(manifest, reused=reused))


def dropped(store: Store, task: DatasetTask) -> Outcome:
    """Remove versions, each one's manifest first, so that none is visible in part."""
    assert task.current is not None
    assert task.current not in task.drop
    for version in task.drop:
        folder = version_path(task.output_path, version)
        store.delete(folder + MANIFEST)
        _sweep(store, folder, ())
        log.info("Version %s was removed", version)
    path = version_path(task.output_path, task.current) + MANIFEST
    manifest = read_manifest(store, path, DatasetManifest)
    if manifest is None:
        raise DigestMismatch(
            f"{store.url(path)} was removed; restore it, or annotate the dataset with "
            f"{ANNOTATION_REFRESH} to prepare it anew."
        )
    told = result(manifest, reused=True).model_copy(update={"dropped": task.drop})
    return Outcome(succeeded=True, reason=Reason.PREPARED, dataset=told)


def existing(store: Store, task: DatasetTask, listing: Listing) -> DatasetManifest | None:
    """A version of the same recipe and tokenizer whose sources had the same keys, sizes and etags:
    its bytes are the same, so nothing is read again."""
    for info in store.list(f"{task.output_path}versions/"):
        if not info.path.endswith(f"/{MANIFEST}"):
            continue
        manifest = read_manifest(store, info.path, DatasetManifest)
        if manifest is None or manifest.recipe != task.recipe:
            continue
        if listing.tokenizer not in (None, digest_of(manifest.tokenizer)):
            continue
        if _is_of(listing, manifest):
            return manifest
        path = info.path.removesuffix(MANIFEST) + SEEN
        if read_manifest(store, path, Listing) == listing:
            return manifest
    return None


def _is_of(listing: Listing, manifest: DatasetManifest) -> bool:
    """Whether the manifest's sources had the listed keys, sizes and etags."""
    listed = {(item.store, item.key, item.bytes, item.etag) for item in listing.objects}
    return listed == {(i.store, i.key, i.bytes, i.etag) for i in manifest.sources}


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
        documents_read=manifest.documents_read,
        tokens=manifest.tokens,
        bytes=sum(source.bytes for source in manifest.sources),
        shards=len(manifest.train) + len(manifest.validation),
        rejected=manifest.rejected,
        redacted=manifest.redacted,
        reused=reused,
    )


def _prepared(
    store: Store,
    task: DatasetTask,
    objects: Sequence[SourceObject],
    taken: ModelTokenizer | None,
    scratch: Path,
    progress: Percent,
    worker: Worker,
    part_bytes: int,
    patience_seconds: float,
) -> DatasetManifest:
    """The version of what the attempt's first worker listed, made together with the others."""
    folder = f"{task.output_path}{WORK}{task.owner_uid}/"
    own = listing_of(objects, taken.digest if taken else None)
    agreed = _agreed(store, folder, task, own, part_bytes)
    if agreed.listing.tokenizer != own.tokenizer:
        raise ObjectChanged(
            "The model of spec.tokenizer.model got another tokenizer when this attempt had begun; "
            "it is read again."
        )
    listing = agreed.listing
    parts = parts_of(as_listed(objects, listing), part_bytes)
    if worker.index == 0 and not _superseded(store, folder, task.attempt):
        read = [f"{READING}{kind}/{part_name(part, task.recipe)}"
                for kind in ("results", "files") for part in parts]  # fmt: skip
        _sweep(store, folder, (f"a{task.attempt}.json", agreed.folder, *read))
    work = Work(store, folder + agreed.folder, worker, patience_seconds)
    reading = Work(store, folder + READING, worker, patience_seconds, work.mark)
    try:
        work.check()
        mine = _built(Build(task, work, reading, parts, scratch, progress, taken))
    except Published as done:
        version_folder = version_path(task.output_path, done.version)
        manifest = read_manifest(store, version_folder + MANIFEST, DatasetManifest)
        if manifest is None:
            raise DigestMismatch(
                f"{store.url(version_folder + MANIFEST)} was removed when it had just been "
                "published; another attempt makes it anew."
            ) from None
        if worker.index == 0:
            if not _is_of(listing, manifest):
                store.put(version_folder + SEEN, listing.model_dump_json(by_alias=True).encode())
            work.finish(done.version)
            _clear(reading, store, folder, task)
        return manifest
    version_folder = version_path(task.output_path, mine.version)
    manifest = publish_manifest(store, version_folder + MANIFEST, mine)
    if worker.index == 0:
        work.finish(manifest.version)
        _clear(reading, store, folder, task)
        store.abandon_uploads(folder)
        store.abandon_uploads(version_folder)
        _sweep(store, version_folder, [MANIFEST, *(e.key for e in _files(manifest))])
    return manifest


def _built(build: Build) -> DatasetManifest:
    """What was needed may be gone because others have finished: then it is Published."""
    try:
        return build.manifest()
    except StoreError:
        build.work.check()
        raise


class _Agreement(Began):
    """What all workers of an attempt go by: the first one's listing, and where they work."""

    listing: Listing
    folder: str


def _agreed(
    store: Store, folder: str, task: DatasetTask, listing: Listing, part_bytes: int
) -> _Agreement:
    """The folder of the work bears the digest of all that its results depend on, so that another
    attempt goes on there. One that is finished is not used again: its mark would end this."""
    path = f"{folder}a{task.attempt}.json"
    if (agreed := read_manifest(store, path, _Agreement)) is not None:
        return agreed
    identity = digest([task.recipe, listing.digest, part_bytes, RELEASE])
    name = identity.removeprefix("sha256:")[:32]
    for number in count():
        mine = _Agreement(
            listing=listing, folder=f"{name}-{number}/", began_seconds=int(time.time())
        )
        if store.head(f"{folder}{mine.folder}{PUBLISHED}") is None:
            break
    return publish_manifest(store, path, mine)


def _clear(reading: Work, store: Store, folder: str, task: DatasetTask) -> None:
    """Remove parts that were read; a later attempt goes on with them and does it then."""
    if not _superseded(store, folder, task.attempt):
        reading.clear()


def _superseded(store: Store, folder: str, attempt: int) -> bool:
    """Whether a later attempt works here already: what lies here is then its to remove."""
    names = (info.path.removeprefix(folder) for info in store.list(f"{folder}a"))
    agreed = (re.fullmatch(r"a(\d+)\.json", name) for name in names)
    return any(match and int(match[1]) > attempt for match in agreed)


def _sweep(store: Store, folder: str, keep: Sequence[str]) -> None:
    """Remove what lies below `folder` but what begins with one of `keep`, relative to it."""
    for info in store.list(folder):
        if not info.path.removeprefix(folder).startswith(tuple(keep)):
            store.delete(info.path)


def _files(manifest: DatasetManifest) -> list[FileEntry]:
    return [*manifest.tokenizer, *manifest.train, *manifest.validation]
