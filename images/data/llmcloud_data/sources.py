"""Sources: which objects are read, and their bytes laid into scratch, hashed on the way.

Memory is bounded by the listing (`OBJECTS_LIMIT` entries), never by an object's size.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmcloud.api.contract import SourceEntry, SourceTask
from llmcloud.api.dataset import Format
from llmcloud.cloud.base import ObjectInfo
from llmcloud.cloud.errors import ConfigurationInvalid, ObjectChanged, SourceEmpty
from llmcloud.cloud.parallel import in_parallel
from llmcloud_data.addresses import plain
from llmcloud_data.origins import Origin, Origins

OBJECTS_LIMIT: Final = 200_000


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object to read, and how its bytes become documents.

    `origin` is the manifest's name of where it comes from: a store's, or one that none can have.
    """

    origin: str
    reader: Origin
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


def list_sources(sources: list[SourceTask], origins: Origins) -> list[SourceObject]:
    """All objects of all sources, in the order of (origin, key), each once: as the first source
    that matches it says.

    Raises SourceEmpty where there is none, ConfigurationInvalid above `OBJECTS_LIMIT`.
    """
    found: dict[tuple[str, str], SourceObject] = {}
    for source in sources:
        for origin, reader, info, format_ in origins.objects(source):
            item = SourceObject(origin, reader, info, format_, tuple(source.members))
            found.setdefault((origin, info.path), item)
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
    return "; ".join(map(_described, sources))


def _described(source: SourceTask) -> str:
    if source.url is not None:
        return plain(source.url.url)
    include = ", ".join(source.include)
    if source.hub is not None:
        return f"hub dataset {source.hub.name}, include {include}"
    assert source.store is not None
    return f"store {source.store.name}, path '{source.path}', include {include}"


def read_sources(
    objects: list[SourceObject], folder: Path, advance: Callable[[int], None]
) -> list[SourceFile]:
    """Lay all objects into `folder`; `advance` hears of the bytes of each.

    Raises ObjectChanged if an object is not the one that was listed.
    """

    def read(numbered: tuple[int, SourceObject]) -> SourceFile:
        number, item = numbered
        file = folder / f"{number:06d}"
        sha256 = item.reader.get_file(item.info.path, file, etag=item.info.etag)
        read_bytes = file.stat().st_size
        if read_bytes != item.info.bytes:
            raise ObjectChanged(
                f"{item.reader.url(item.info.path)} was listed with {item.info.bytes} bytes and "
                f"read with {read_bytes}; it is read again."
            )
        info = item.info
        entry = SourceEntry(
            store=item.origin, key=info.path, bytes=read_bytes, sha256=sha256, etag=info.etag
        )
        return SourceFile(entry, file, item.format, item.members)

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for source in in_parallel(read, enumerate(objects)):
        advance(source.entry.bytes)
        files.append(source)
    return files
