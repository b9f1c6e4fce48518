"""Removing a bucket that we created: only with our owner's mark, and said before it is done.

A bucket is removed whole. Where objects of others lie in it, beside the store's prefix, it is kept.
"""

import logging
from dataclasses import dataclass, field
from typing import Final

from llmcloud.api.contract import DeleteStoreTask, Outcome, StoreLocation
from llmcloud.api.names import Reason
from llmcloud.cloud.base import open_store
from llmcloud.cloud.bucket import open_bucket
from llmcloud.cloud.errors import BucketNotFound, BucketNotOwned

SHOWN_OBJECTS: Final = 20

log = logging.getLogger(__name__)


@dataclass
class Contents:
    """What lies in a bucket, but for what was deleted or overwritten and is still kept."""

    objects: int = 0
    bytes: int = 0
    shown: list[str] = field(default_factory=list)
    outside: str | None = None
    """The first object that is not below the store's prefix."""


def remove(task: DeleteStoreTask) -> Outcome:
    """Idempotent: a bucket that is gone is a success. Raises BucketNotOwned."""
    name = task.store.bucket
    bucket = open_bucket(task.store)
    try:
        owner = bucket.owner()
    except BucketNotFound:
        return _done(f"Bucket {name} is gone.")
    if owner != task.owner_uid:
        raise BucketNotOwned(
            f"Bucket {name} is kept: it does not carry the mark of this ObjectStore; remove it "
            "yourself, or set spec.reclaimPolicy: Retain."
        )
    contents = _look(task.store)
    if contents.outside is not None:
        raise BucketNotOwned(
            f"Bucket {name} is kept: {contents.outside} lies outside of spec.prefix "
            f"{task.store.prefix}; remove what lies there, or set spec.reclaimPolicy: Retain."
        )
    log.info(
        "Removing bucket %s with %d objects of %d bytes and their older versions%s",
        name, contents.objects, contents.bytes, ", among them:" if contents.shown else "",
    )  # fmt: skip
    for path in contents.shown:
        log.info("  %s", path)
    removed = bucket.delete()
    return _done(f"Removed bucket {name} with {removed} object versions.")


def _look(location: StoreLocation) -> Contents:
    """Lists the whole bucket, or up to the first object that is not of the store."""
    contents = Contents()
    whole = open_store(location.model_copy(update={"prefix": ""}))
    for entry in whole.list(""):
        if not entry.path.startswith(location.prefix):
            contents.outside = entry.path
            break
        contents.objects += 1
        contents.bytes += entry.bytes
        if len(contents.shown) < SHOWN_OBJECTS:
            contents.shown.append(entry.path)
    return contents


def _done(message: str) -> Outcome:
    return Outcome(succeeded=True, reason=Reason.SUCCEEDED, message=message)
