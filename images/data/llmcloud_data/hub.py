"""Repositories of the Hugging Face hub: which files a source means, and their digests.

The hub's own library knows the protocol; the bytes are read by `web`. Nothing of a repository is
ever run: a dataset that is a script has no files for us.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal

import httpx2
from huggingface_hub import HfApi, close_session, hf_hub_url, set_client_factory
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llmcloud.api.contract import HubInput, HubSource
from llmcloud.api.dataset import Format
from llmcloud.cloud.base import CHUNK_BYTES, ObjectInfo
from llmcloud.cloud.errors import (
    ConfigurationInvalid,
    CredentialsRefused,
    DigestMismatch,
    ObjectChanged,
    ObjectNotFound,
    SourceEmpty,
    SourceUnreachable,
)
from llmcloud.cloud.manifest import sha256_of
from llmcloud_data.web import READ_SECONDS, Web

HUB: Final = "https://huggingface.co"
FORMATS: Final[dict[str, Format]] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".txt": "text",
}
COMPRESSED: Final = (".gz", ".zst")
METADATA: Final = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json"})
DEFAULT_SPLIT: Final = "train"


def format_of(path: str) -> Format | None:
    """The format that a file's suffix tells; None if it tells none of ours."""
    for suffix in COMPRESSED:
        path = path.removesuffix(suffix)
    return FORMATS.get(Path(path).suffix.lower())


@dataclass(frozen=True)
class Choice:
    """Files of a repository by what its card declares, else by what their paths tell."""

    config: str | None
    split: str | None

    def of(self, paths: list[str], configs: list[dict[str, Any]]) -> list[str]:
        """The paths meant. Raises ConfigurationInvalid if the config must be another."""
        if configs:
            patterns = self._patterns(self._declared(configs).get("data_files"))
            return [path for path in paths if any(fnmatchcase(path, glob) for glob in patterns)]
        if self.config is not None:
            paths = [path for path in paths if self.config in Path(path).parts[:-1]]
        told = [path for path in paths if _tells(path, self.split or DEFAULT_SPLIT)]
        return told if told or self.split is not None else paths

    def _declared(self, configs: list[dict[str, Any]]) -> dict[str, Any]:
        named = {str(config.get("config_name")): config for config in configs}
        if self.config is not None and self.config in named:
            return named[self.config]
        defaults = [config for config in configs if config.get("default")] or configs
        if self.config is None and (len(defaults) == 1 or "default" in named):
            return named.get("default", defaults[0])
        raise ConfigurationInvalid(
            f"spec.sources[].hub.config must be one of {', '.join(sorted(named))}, not "
            f"{self.config or 'absent'}."
        )

    def _patterns(self, declared: Any) -> list[str]:
        """Globs of the split's files, from any of the forms in which a card may write them."""
        if isinstance(declared, dict):
            declared = [{"split": split, "path": path} for split, path in declared.items()]
        entries = declared if isinstance(declared, list) else [declared]
        if not any(isinstance(entry, dict) for entry in entries):
            return _listed(declared)
        splits = {str(entry.get("split")): entry for entry in entries if isinstance(entry, dict)}
        wanted = self.split or DEFAULT_SPLIT
        if self.split is None and wanted not in splits:
            return [glob for entry in splits.values() for glob in _listed(entry.get("path"))]
        return _listed(splits.get(wanted, {}).get("path"))


def _listed(value: Any) -> list[str]:
    return [str(item) for item in value if item] if isinstance(value, list) else [str(value or "")]


def _tells(path: str, split: str) -> bool:
    """A part of the path between marks is the split's name."""
    return split in re.split(r"[-_./]", path)


@dataclass(frozen=True)
class HubFile:
    """A file as the hub names it: its SHA-256, or the SHA-1 by which Git knows it."""

    bytes: int
    digest: str


@dataclass(frozen=True)
class Repository:
    """What is asked for. `field`: the member of the specification that names it."""

    kind: Literal["dataset", "model"]
    name: str
    revision: str | None
    token_file: str | None
    field: str

    @property
    def token(self) -> str:
        return Path(self.token_file).read_text().strip() if self.token_file else ""


@dataclass(frozen=True)
class HubOrigin:
    """One repository at one commit, and the files that are read of it."""

    web: Web
    endpoint: str
    source: Repository
    commit: str
    token: str
    files: dict[str, HubFile]

    @property
    def name(self) -> str:
        revision = f"@{self.source.revision}" if self.source.revision else ""
        return f"hub:{self.source.name}{revision}"

    def url(self, path: str = "") -> str:
        """For messages."""
        kind = "datasets/" if self.source.kind == "dataset" else ""
        return f"{self.endpoint}/{kind}{self.source.name}/{path}"

    def list(self) -> Iterator[ObjectInfo]:
        for path, file in sorted(self.files.items()):
            yield ObjectInfo(path, file.bytes, file.digest)

    def get_file(self, path: str, destination: Path, *, etag: str | None = None) -> str:
        """Write a file, verified; returns its SHA-256.

        Raises DigestMismatch, ObjectChanged (this commit's file is not that of `etag`), and as
        `Web.fetch`.
        """
        file = self.files[path]
        if etag not in (None, file.digest):
            raise ObjectChanged(f"{self.url(path)} is not the one that was listed any more.")
        address = hf_hub_url(
            self.source.name,
            path,
            repo_type=self.source.kind,
            revision=self.commit,
            endpoint=self.endpoint,
        )
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.web.fetch(address, destination, file.bytes, headers)
        sha256 = sha256_of(destination)
        if file.digest not in (sha256, git_digest(destination)):
            destination.unlink()
            raise DigestMismatch(
                f"{self.url(path)} does not have the digest {file.digest} that the hub names; it "
                "is read again, or its mirror must be repaired."
            )
        return sha256


def open_repository(
    web: Web, endpoint: str, source: HubSource, wanted: Callable[[str], bool]
) -> HubOrigin:
    """A repository, with the files of its config and split whose paths are `wanted`.

    Raises SourceEmpty, ConfigurationInvalid, CredentialsRefused, ObjectNotFound,
    SourceUnreachable.
    """
    repository = Repository(
        "dataset", source.name, source.revision, source.token_file, "spec.sources[].hub"
    )
    found, files = _asked(web, endpoint, repository)
    files = {
        path: file
        for path, file in files.items()
        if wanted(path) and Path(path).name not in METADATA
    }
    configs = getattr(found.card_data, "configs", None) or []
    chosen = Choice(source.config, source.split).of(sorted(files), configs)
    if not chosen:
        raise SourceEmpty(
            f"No file of dataset {source.name} on the hub is of config {source.config or '(any)'} "
            f"and split {source.split or DEFAULT_SPLIT}; its data files are "
            f"{', '.join(sorted(files)[:10]) or 'none'}."
        )
    chosen_files = {path: files[path] for path in chosen}
    return HubOrigin(web, endpoint, repository, str(found.sha), repository.token, chosen_files)


def open_model(web: Web, endpoint: str, model: HubInput, names: Collection[str]) -> HubOrigin:
    """A model's repository, with those of the files `names` that it has. Raises as above."""
    repository = Repository(
        "model", model.name, model.revision, model.token_file, "spec.tokenizer.model.hub"
    )
    found, files = _asked(web, endpoint, repository)
    wanted = {path: file for path, file in files.items() if path in names}
    return HubOrigin(web, endpoint, repository, str(found.sha), repository.token, wanted)


def _asked(web: Web, endpoint: str, repository: Repository) -> tuple[Any, dict[str, HubFile]]:
    """What the hub tells of a repository, and all its files."""
    api = HfApi(endpoint=endpoint, token=repository.token or False)
    set_client_factory(web.build_client)
    try:
        with _translated(repository):
            found: Any = api.repo_info(
                repository.name,
                repo_type=repository.kind,
                revision=repository.revision,
                files_metadata=True,
                timeout=READ_SECONDS,
            )
    finally:
        close_session()
    return found, {
        file.rfilename: HubFile(file.size or 0, file.lfs.sha256 if file.lfs else str(file.blob_id))
        for file in found.siblings or []
    }


def git_digest(file: Path) -> str:
    """The SHA-1 (hex) by which Git names the file's bytes."""
    sha1 = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha1.update(chunk)
    return sha1.hexdigest()


@contextmanager
def _translated(source: Repository) -> Iterator[None]:
    """The hub's refusals in our words; never the server's text."""
    try:
        yield
    except GatedRepoError:
        raise _refused(source) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise ObjectNotFound(
            f"The hub has no {source.kind} {source.name} at revision {source.revision or 'main'}, "
            f"or shows it to a token alone; correct {source.field}."
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise _refused(source) from None
        raise SourceUnreachable(
            f"The hub answers {status} when asked for {source.kind} {source.name}; it is asked "
            "again."
        ) from None
    except httpx2.RequestError as error:
        raise SourceUnreachable(
            f"The hub could not be asked for {source.kind} {source.name} "
            f"({type(error).__name__}); check that this cluster's pods may reach it, or set the "
            "chart's value hubMirror."
        ) from None


def _refused(source: Repository) -> CredentialsRefused:
    return CredentialsRefused(
        f"The hub refuses {source.kind} {source.name}; set {source.field}.tokenSecretRef to a "
        "token that may read it."
    )
