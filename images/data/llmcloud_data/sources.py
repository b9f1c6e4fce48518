"""Sources: which objects are read, and their bytes laid into scratch, hashed on the way.

Memory is bounded by the listing (`OBJECTS_LIMIT` entries), never by an object's size.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from llmcloud.api.contract import SourceEntry, SourceTask
from llmcloud.api.dataset import Format
from llmcloud.cloud.base import ObjectInfo, Store, open_store
from llmcloud.cloud.errors import ConfigurationInvalid, ObjectChanged, SourceEmpty
from llmcloud.cloud.parallel import in_parallel

OBJECTS_LIMIT: Final = 200_000


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object to read, and how its bytes become documents."""

    store: Store
    info: ObjectInfo
    format: Format
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One object as it was read, and where its bytes lie."""

    entry: SourceEntry
    file: Path
    format: Format
    members: tuple[str, ...]


def matches(key: str, include: Iterable[str]) -> bool:
    """A glob of `include` matches the key or its last part; `*` also matches slashes."""
    last = key.rpartition("/")[2]
    return any(fnmatchcase(key, glob) or fnmatchcase(last, glob) for glob in include)


def list_sources(sources: list[SourceTask]) -> list[SourceObject]:
    """All objects of all sources, in the order of (store, key), each once: as the first source
    that matches it says.

    Raises SourceEmpty where there is none, ConfigurationInvalid above `OBJECTS_LIMIT`.
    """
    found: dict[tuple[str, str], SourceObject] = {}
    for source in sources:
        store = open_store(source.store)
        for info in _matching(store, source):
            item = SourceObject(store, info, source.format, tuple(source.members))
            found.setdefault((source.store.name, info.path), item)
            if len(found) > OBJECTS_LIMIT:
                raise ConfigurationInvalid(
                    f"The sources have more than {OBJECTS_LIMIT} objects; pack the texts into "
                    "fewer, larger files."
                )
    if not found:
        raise SourceEmpty(
            f"No object matches {describe(sources)}; add texts or correct the source."
        )
    return [found[key] for key in sorted(found)]


def describe(sources: Iterable[SourceTask]) -> str:
    """The sources as their owner knows them, for messages."""
    return "; ".join(
        f"store {source.store.name}, path '{source.path}', include {', '.join(source.include)}"
        for source in sources
    )


def read_sources(
    objects: list[SourceObject], folder: Path, advance: Callable[[int], None]
) -> list[SourceFile]:
    """Lay all objects into `folder`; `advance` hears of the bytes of each.

    Raises ObjectChanged if an object is not the one that was listed.
    """

    def read(numbered: tuple[int, SourceObject]) -> SourceFile:
        number, item = numbered
        file = folder / f"{number:06d}"
        sha256 = item.store.get_file(item.info.path, file, etag=item.info.etag)
        read_bytes = file.stat().st_size
        if read_bytes != item.info.bytes:
            raise ObjectChanged(
                f"{item.store.url(item.info.path)} was listed with {item.info.bytes} bytes and "
                f"read with {read_bytes}; it is read again."
            )
        name = item.store.location.name
        entry = SourceEntry(
            store=name, key=item.info.path, bytes=read_bytes, sha256=sha256, etag=item.info.etag
        )
        return SourceFile(entry, file, item.format, item.members)

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for source in in_parallel(read, enumerate(objects)):
        advance(source.entry.bytes)
        files.append(source)
    return files


def _matching(store: Store, source: SourceTask) -> Iterator[ObjectInfo]:
    for info in store.list(source.path):
        if not info.path.endswith("/") and matches(
            info.path.removeprefix(source.path), source.include
        ):
            yield info
