"""Parts: the objects of all sources in runs of bounded size, each read by one worker.

The runs follow from the listing alone, never from the number of workers, so that the same
sources give the same parts, and the same parts the same shards.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from llmcloud.api.base import ApiModel, digest
from llmcloud.cloud.base import ObjectInfo
from llmcloud.cloud.errors import ObjectChanged
from llmcloud_data.sources import SourceObject

PART_BYTES: Final = 64 * 1024 * 1024
"""A part ends with the object that fills it; a larger object is a part of its own."""
PART_OBJECTS: Final = 2000


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
    """The objects in order, cut into parts. There is at least one."""
    parts: list[list[SourceObject]] = [[]]
    held_bytes = 0
    for item in objects:
        if held_bytes >= part_bytes or len(parts[-1]) >= PART_OBJECTS:
            parts.append([])
            held_bytes = 0
        parts[-1].append(item)
        held_bytes += item.info.bytes
    return parts
