"""Removing a bucket that we created: only with our owner's mark, and said before it is done."""

import logging
from itertools import islice
from typing import Final

from llmcloud.api.contract import DeleteStoreTask, Outcome
from llmcloud.api.names import Reason
from llmcloud.cloud.bucket import open_bucket
from llmcloud.cloud.errors import BucketNotFound, BucketNotOwned

SHOWN_OBJECTS: Final = 20

log = logging.getLogger(__name__)


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
    shown = list(islice(bucket.versions(), SHOWN_OBJECTS + 1))
    log.info("Removing bucket %s with all its objects, among them:", name)
    for version in shown[:SHOWN_OBJECTS]:
        log.info("  %s", version)
    if len(shown) > SHOWN_OBJECTS:
        log.info("  ... and more")
    removed = bucket.delete()
    return _done(f"Removed bucket {name} with {removed} object versions.")


def _done(message: str) -> Outcome:
    return Outcome(succeeded=True, reason=Reason.SUCCEEDED, message=message)
