"""Parts: the objects of all sources in runs of bounded size, each read by one worker.

The runs follow from the listing alone, never from the number of workers, so that the same
sources give the same parts, and the same parts the same shards. Where objects come, go or get
another size, the parts around them are the same as before (content-defined chunking:
A. Muthitacharoen, B. Chen and D. Mazieres, "A low-bandwidth network file system", 2001).
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version as installed_version
from typing import Final

from llmcloud.api.base import ApiModel, digest
from llmcloud.cloud.base import ObjectInfo
from llmcloud.cloud.errors import ObjectChanged
from llmcloud_data.sources import SourceObject

RELEASE: Final = installed_version("llmcloud")
PART_BYTES: Final = 64 * 1024 * 1024
"""A part ends with the object that fills it, at the latest; nothing else follows a larger one."""
PART_OBJECTS: Final = 2000
ENDS: Final = 4
"""How many objects, on average, end a half-full part among as many as would fill one."""


class ListedObject(ApiModel):
    """An object as it was listed."""

    store: str
    key: str
    bytes: int
    etag: str


class Listing(ApiModel):
    """All objects of all sources, in the order of (store, key); `tokenizer`: digest of one that is
    taken from a model."""

    objects: list[ListedObject]
    tokenizer: str | None = None

    @property
    def digest(self) -> str:
        return digest(self.wire())


def listing_of(objects: Sequence[SourceObject], tokenizer: str | None = None) -> Listing:
    return Listing(
        tokenizer=tokenizer,
        objects=[
            ListedObject(
                store=item.origin,
                key=item.info.path,
                bytes=item.info.bytes,
                etag=item.info.etag,
            )
            for item in objects
        ],
    )


def as_listed(objects: Sequence[SourceObject], listing: Listing) -> list[SourceObject]:
    """The objects as `listing` has them. Raises ObjectChanged if one of them is gone.

    What changed since is found when it is read.
    """
    here = {(item.origin, item.info.path): item for item in objects}
    found = []
    for listed in listing.objects:
        item = here.get((listed.store, listed.key))
        if item is None:
            raise ObjectChanged(
                f"{listed.store} had {listed.key} when this attempt began, and has it no "
                "more; the sources are listed again."
            )
        info = ObjectInfo(listed.key, listed.bytes, listed.etag)
        found.append(replace(item, info=info))
    return found


def parts_of(
    objects: Sequence[SourceObject], part_bytes: int = PART_BYTES
) -> list[list[SourceObject]]:
    """The objects in order, cut into parts. There is at least one.

    A part ends when it is full. When it is half full, it may end with any object, as its name and
    size decide.
    """
    parts: list[list[SourceObject]] = [[]]
    held_bytes, full = 0, False
    for item in objects:
        if full:
            parts.append([])
            held_bytes = 0
        parts[-1].append(item)
        share_bytes = max(item.info.bytes, -(-part_bytes // PART_OBJECTS))
        held_bytes += share_bytes
        full = held_bytes >= part_bytes or (
            held_bytes >= part_bytes / 2 and _draw(item) < ENDS * share_bytes / part_bytes
        )
    return parts


def part_name(part: Sequence[SourceObject], recipe: str) -> str:
    """The name of what reading a part gives: of all that it depends on, 32 hex digits."""
    return digest([recipe, RELEASE, listing_of(part).wire()]).removeprefix("sha256:")[:32]


def _draw(item: SourceObject) -> float:
    """A number from 0 to 1 that is always the same for an object's name."""
    name = f"{item.origin}\0{item.info.path}".encode()
    return int.from_bytes(sha256(name).digest()[:8]) / 2**64
