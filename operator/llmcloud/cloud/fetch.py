"""Fetching a model: files checked by digest and laid down whole, or not at all.

Only formats that cannot run code are accepted: a pickle or a Python file is refused, not skipped,
so that nobody serves a model with parts missing.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from llmcloud.api.contract import FetchTask, FileEntry, ModelManifest, Outcome
from llmcloud.api.names import Reason
from llmcloud.cloud.base import ObjectInfo, Store, open_store
from llmcloud.cloud.errors import (
    ConfigurationInvalid,
    DigestMismatch,
    DiskFull,
    ObjectNotFound,
)
from llmcloud.cloud.manifest import (
    FILE_MODE,
    FOLDER_MODE,
    MANIFEST,
    download,
    files_digest,
    make_folder,
    read_manifest,
    safe_key,
    sha256_of,
)
from llmcloud.cloud.parallel import in_parallel

ALLOWED_SUFFIXES: Final = frozenset({".safetensors", ".json", ".txt", ".jinja", ".model", ".md"})
COMPLETE: Final = ".llmcloud-complete"
"""Holds the digest of the model that the folder holds, written last."""


def fetch(task: FetchTask) -> Outcome:
    """Idempotent: a folder that holds the model already is checked and kept."""
    store = open_store(task.store)
    destination = Path(task.destination)
    manifest = read_manifest(store, task.path + MANIFEST, ModelManifest)
    if manifest is None:
        digest = _fetch_plain(store, task, destination)
    else:
        digest = _fetch_manifest(store, task, manifest, destination)
    return Outcome(
        succeeded=True,
        reason=Reason.SUCCEEDED,
        message=f"{store.url(task.path)} ({digest}) lies in {destination}.",
    )


def refuse_code(files: Sequence[str]) -> None:
    """Raises ConfigurationInvalid for the first file whose format is not allowed."""
    for name in files:
        if PurePosixPath(name).suffix.lower() not in ALLOWED_SUFFIXES:
            raise ConfigurationInvalid(
                f"The model has the file {name}, which may hold code; only "
                f"{', '.join(sorted(ALLOWED_SUFFIXES))} are served: convert the weights to "
                "safetensors and remove it."
            )


def _fetch_manifest(
    store: Store, task: FetchTask, manifest: ModelManifest, destination: Path
) -> str:
    found = files_digest(manifest.files)
    wanted = task.digest or manifest.digest
    if found != manifest.digest or found != wanted:
        raise DigestMismatch(
            f"{store.url(task.path + MANIFEST)} names files with the digest {found}, but "
            f"{wanted} is wanted; train again, or correct the model's path."
        )
    refuse_code([file.key for file in manifest.files])
    if _is_complete(destination, found):
        return found
    _require_space(destination, sum(file.bytes for file in manifest.files))
    staging = _staging(destination, found)
    download(store, task.path + manifest.path, manifest.files, staging)
    _finish(staging, destination, found)
    return found


def _fetch_plain(store: Store, task: FetchTask, destination: Path) -> str:
    """A folder that somebody else filled: there are no digests to check but the task's own."""
    objects = [entry for entry in store.list(task.path) if not entry.path.endswith("/")]
    if not objects:
        raise ObjectNotFound(
            f"There is no model at {store.url(task.path)}; check the path.",
        )
    keys = [entry.path.removeprefix(task.path) for entry in objects]
    refuse_code(keys)
    if task.digest is not None and _is_complete(destination, task.digest):
        return task.digest
    _require_space(destination, sum(entry.bytes for entry in objects))
    staging = _staging(destination, "")
    files = _lay_down(store, task.path, objects, staging)
    digest = files_digest(files)
    if task.digest is not None and digest != task.digest:
        raise DigestMismatch(
            f"The files of {store.url(task.path)} have the digest {digest}, but {task.digest} is "
            "wanted; restore them, or correct the model's path."
        )
    _finish(staging, destination, digest)
    return digest


def _lay_down(
    store: Store, path: str, objects: Sequence[ObjectInfo], folder: Path
) -> list[FileEntry]:
    def lay_down(entry: ObjectInfo) -> FileEntry:
        key = entry.path.removeprefix(path)
        target = folder / safe_key(key)
        make_folder(target.parent, folder)
        sha256 = store.get_file(entry.path, target, etag=entry.etag)
        target.chmod(FILE_MODE)
        return FileEntry(key=key, bytes=entry.bytes, sha256=sha256)

    return list(in_parallel(lay_down, objects))


def _require_space(destination: Path, needed_bytes: int) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(destination.parent).free
    if needed_bytes > free_bytes:
        raise DiskFull(
            f"The model needs {needed_bytes} bytes in {destination.parent}, of which {free_bytes} "
            "are free; raise spec.resources.ephemeralStorage or spec.pod.scratch.size."
        )


def _staging(destination: Path, digest: str) -> Path:
    """A sibling of `destination`: what an earlier try left of the same digest is kept."""
    suffix = digest.removeprefix("sha256:")[:16]
    staging = destination.with_name(f".{destination.name}.{suffix}.partial")
    if not digest:
        shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True, exist_ok=True)
    staging.chmod(FOLDER_MODE)
    return staging


def _finish(staging: Path, destination: Path, digest: str) -> None:
    marker = staging / COMPLETE
    marker.write_text(digest)
    marker.chmod(FILE_MODE)
    if destination.exists():
        shutil.rmtree(destination)
    os.replace(staging, destination)


def _is_complete(destination: Path, digest: str) -> bool:
    """The folder was finished for this digest, and its files still have it."""
    marker = destination / COMPLETE
    if not marker.is_file() or marker.read_text() != digest:
        return False
    files = [file for file in destination.rglob("*") if file.is_file() and file != marker]
    entries = [
        FileEntry(
            key=file.relative_to(destination).as_posix(),
            bytes=file.stat().st_size,
            sha256=sha256_of(file),
        )
        for file in files
    ]
    return files_digest(entries) == digest
