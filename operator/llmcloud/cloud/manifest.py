"""Manifests and the files that they name: digests, publication, upload, verified download.

A manifest is written last and only if absent, so what can be seen is complete. Nothing is trusted
on reading: every file's SHA-256 is compared.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from pydantic import ValidationError

from llmcloud.api.base import ApiModel, digest
from llmcloud.api.contract import FileEntry, SourceEntry
from llmcloud.cloud.base import DOCUMENT_BYTES, Store
from llmcloud.cloud.errors import (
    AlreadyExists,
    ConfigurationInvalid,
    DigestMismatch,
    ObjectNotFound,
)
from llmcloud.cloud.parallel import in_parallel

MANIFEST: Final = "manifest.json"
UPLOADS: Final = 4
"""Files uploaded at once; a large one uses several connections itself."""
FILE_MODE: Final = 0o644
FOLDER_MODE: Final = 0o755
Manifest = TypeVar("Manifest", bound=ApiModel)


def files_digest(files: Iterable[FileEntry]) -> str:
    """`ModelManifest.digest`: of the sorted (key, sha256) pairs; the same for a tokenizer."""
    return digest(sorted([file.key, file.sha256] for file in files))


def dataset_version(
    recipe: str, sources: Iterable[SourceEntry], tokenizer: str | None = None
) -> str:
    """`DatasetManifest.version`: of the recipe, the sorted (store, key, sha256), and the digest of
    the tokenizer if it is a model's."""
    objects = sorted([source.store, source.key, source.sha256] for source in sources)
    taken = {"tokenizer": tokenizer} if tokenizer else {}
    return digest({"recipe": recipe, "sources": objects, **taken})


def version_path(output_path: str, version: str) -> str:
    """Folder of a dataset version: `<output_path>versions/<64 hex>/`."""
    return f"{output_path}versions/{version.removeprefix('sha256:')}/"


def read_manifest(store: Store, path: str, shape: type[Manifest]) -> Manifest | None:
    """The manifest at `path`, None if there is none. Raises DigestMismatch if it is no such."""
    try:
        body = store.get(path)
    except ObjectNotFound:
        return None
    try:
        return shape.model_validate_json(body)
    except ValidationError:
        raise DigestMismatch(
            f"{store.url(path)} is no {shape.__name__} of this version of llmcloud; remove it, or "
            "choose another output path."
        ) from None


def encoded(document: ApiModel, url: str) -> bytes:
    """The JSON of what is to be written to `url`. Raises ConfigurationInvalid where nobody could
    read it whole again."""
    body = document.model_dump_json(by_alias=True, exclude_none=True).encode()
    if len(body) > DOCUMENT_BYTES:
        raise ConfigurationInvalid(
            f"{url} would have {len(body)} bytes, more than {DOCUMENT_BYTES}: it names every object"
            " of the sources; use fewer and larger ones, or several datasets."
        )
    return body


def publish_manifest(store: Store, path: str, manifest: Manifest) -> Manifest:
    """Create a manifest; returns the one that is there now: this, or the winner's of a race.

    Raises ConfigurationInvalid above DOCUMENT_BYTES.
    """
    body = encoded(manifest, store.url(path))
    try:
        store.put(path, body, if_absent=True)
    except AlreadyExists:
        winner = read_manifest(store, path, type(manifest))
        if winner is None:
            raise
        return winner
    return manifest


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def upload_folder(store: Store, folder: Path, path: str) -> list[FileEntry]:
    """Upload all files below `folder` to `path`; entries are sorted, keys relative to `path`."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return upload_files(store, folder, files, path)


def upload_files(store: Store, folder: Path, files: Iterable[Path], path: str) -> list[FileEntry]:
    """Upload some files below `folder` to `path`; entries as those of `upload_folder`."""

    def upload(file: Path) -> FileEntry:
        key = file.relative_to(folder).as_posix()
        entry = FileEntry(key=key, bytes=file.stat().st_size, sha256=sha256_of(file))
        store.put(path + key, file)
        return entry

    return sorted(in_parallel(upload, sorted(files), UPLOADS), key=lambda entry: entry.key)


def download(store: Store, path: str, files: Sequence[FileEntry], destination: Path) -> None:
    """Lay `files` of the folder `path` down below `destination`, every digest checked.

    A file that is there with the right digest is kept. Files get mode 0644, folders 0755.
    """

    def lay_down(entry: FileEntry) -> None:
        target = destination / safe_key(entry.key)
        if _holds(target, entry):
            return
        make_folder(target.parent, destination)
        partial = target.with_name(target.name + ".partial")
        found = store.get_file(path + entry.key, partial)
        if found != entry.sha256:
            partial.unlink()
            raise DigestMismatch(
                f"{store.url(path + entry.key)} is corrupt: its SHA-256 is {found}, the manifest "
                f"names {entry.sha256}; restore it, or make it anew."
            )
        partial.chmod(FILE_MODE)
        os.replace(partial, target)

    destination.mkdir(parents=True, exist_ok=True)
    for _ in in_parallel(lay_down, files):
        pass


def _holds(file: Path, entry: FileEntry) -> bool:
    return file.is_file() and file.stat().st_size == entry.bytes and sha256_of(file) == entry.sha256


def make_folder(folder: Path, root: Path) -> None:
    """Create `folder` below `root`, with modes that another user's pod can read."""
    if folder != root and not folder.is_dir():
        make_folder(folder.parent, root)
        folder.mkdir(exist_ok=True)
        folder.chmod(FOLDER_MODE)


def safe_key(key: str) -> PurePosixPath:
    """A manifest's key as a relative path. Raises DigestMismatch if it would leave its folder."""
    path = PurePosixPath(key)
    if not key or path.is_absolute() or ".." in path.parts or "\\" in key or "\0" in key:
        raise DigestMismatch(f"A manifest names {key!r}, which is no path below its own folder.")
    return path
