"""Where sources come from: a store, a URL, a repository of the hub; each lists and reads alike."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from llmcloud.api.contract import HubInput, NetworkRules, SourceTask, UrlSource
from llmcloud.api.dataset import Format
from llmcloud.cloud.base import ObjectInfo, Store, open_store
from llmcloud.cloud.errors import DigestMismatch
from llmcloud.cloud.manifest import sha256_of
from llmcloud_data.addresses import plain

if TYPE_CHECKING:
    from llmcloud_data.hub import HubOrigin
    from llmcloud_data.web import Web


class Origin(Protocol):
    """What a source is read from; a `Store` is one."""

    def url(self, path: str = "") -> str:
        """For messages."""
        ...

    def get_file(self, path: str, destination: Path, *, etag: str | None = None) -> str:
        """Write an object to a local file; returns the SHA-256 (hex) of what was read."""
        ...


class Found(NamedTuple):
    """One object of a source. `origin` is the manifest's name of where it comes from."""

    origin: str
    reader: Origin
    info: ObjectInfo
    format: Format


class Origins:
    """Opens sources. `tls`: what servers of the web are trusted by; absent: the system's."""

    def __init__(
        self,
        rules: NetworkRules | None = None,
        hub_endpoint: str | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        self._rules = rules or NetworkRules()
        self._hub_endpoint = hub_endpoint
        self._tls = tls
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    @cached_property
    def _web(self) -> "Web":
        from llmcloud_data.web import Web

        web = Web(self._rules, self._hub_endpoint or "", self._tls)
        self._opened.callback(web.close)
        return web

    def objects(self, source: SourceTask) -> Iterator[Found]:
        """The objects of one source. Raises what reading them may."""
        if source.store is not None:
            yield from _stored(open_store(source.store), source)
        elif source.url is not None:
            yield _at_url(self._web, source.url, source.format)
        elif source.hub is not None:
            yield from self._on_hub(source)

    def model(self, model: HubInput, names: Collection[str]) -> "HubOrigin":
        """Those of the files `names` that a model of the hub has."""
        from llmcloud_data.hub import HUB, open_model

        return open_model(self._web, self._hub_endpoint or HUB, model, names)

    def _on_hub(self, source: SourceTask) -> Iterator[Found]:
        """A format other than text, the default, is that of all files."""
        from llmcloud_data.hub import HUB, format_of, open_repository

        assert source.hub is not None

        def wanted(path: str) -> bool:
            known = source.format != "text" or format_of(path) is not None
            return known and matches(path, source.include)

        endpoint = self._hub_endpoint or HUB
        origin = open_repository(self._web, endpoint, source.hub, wanted)
        for info in origin.list():
            told = format_of(info.path) if source.format == "text" else None
            yield Found(origin.name, origin, info, told or source.format)


@dataclass(frozen=True)
class UrlOrigin:
    """One file of the web, known by its digest."""

    web: "Web"
    source: UrlSource
    bytes: int

    def url(self, path: str = "") -> str:
        """For messages."""
        return plain(self.source.url)

    def get_file(self, path: str, destination: Path, *, etag: str | None = None) -> str:
        """Write the file, verified. Raises DigestMismatch, and as `Web.fetch`."""
        self.web.fetch(self.source.url, destination, self.bytes)
        sha256 = sha256_of(destination)
        if sha256 != self.source.sha256:
            destination.unlink()
            raise DigestMismatch(
                f"{self.url()} has the SHA-256 {sha256}, not {self.source.sha256}; correct "
                "spec.sources[].sha256 if the file was changed on purpose."
            )
        return sha256


def matches(key: str, include: Iterable[str]) -> bool:
    """A glob of `include` matches the key or its last part; `*` also matches slashes."""
    last = key.rpartition("/")[2]
    return any(fnmatchcase(key, glob) or fnmatchcase(last, glob) for glob in include)


def _at_url(web: "Web", source: UrlSource, format_: Format) -> Found:
    """Two URLs that differ in what they sign are told apart by what they promise."""
    size_bytes = web.size_bytes(source.url)
    parts = urlsplit(plain(source.url))
    info = ObjectInfo(f"{parts.path}#{source.sha256}", size_bytes, source.sha256)
    reader = UrlOrigin(web, source, size_bytes)
    return Found(f"{parts.scheme}://{parts.netloc}", reader, info, format_)


def _stored(store: Store, source: SourceTask) -> Iterator[Found]:
    for info in store.list(source.path):
        if not info.path.endswith("/") and matches(
            info.path.removeprefix(source.path), source.include
        ):
            yield Found(store.location.name, store, info, source.format)
