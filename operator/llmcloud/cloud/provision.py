"""Provisioning: create or adopt a bucket, set or read its protections, prove that it works.

A bucket that we create carries its owner's uid as a mark; only such a bucket is ever changed or
removed. An adopted one is used as it is.
"""

import logging

from llmcloud.api.contract import Outcome, ProvisionResult, ProvisionTask
from llmcloud.api.names import Reason
from llmcloud.cloud import refusals
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.bucket import open_bucket
from llmcloud.cloud.errors import AlreadyExists, StoreError

log = logging.getLogger(__name__)


def provision(task: ProvisionTask) -> Outcome:
    """Idempotent: run again, it sets again what a bucket of ours has lost."""
    location = task.store
    store, bucket = open_store(location), open_bucket(location)
    created = False
    if not bucket.exists():
        if not task.create:
            raise refusals.bucket_not_found(location, f"use store {location.name}")
        bucket.create(task.owner_uid)
        log.info("Created bucket %s", location.bucket)
        created = True
    owned = created or bucket.owner() == task.owner_uid
    if owned:
        bucket.protect()
    probe = f".llmcloud-probe-{task.owner_uid}"
    _prove(store, probe)
    protections = bucket.protections(probe)
    if owned:
        bucket.delete_versions(probe)
    else:
        store.delete(probe)
    result = ProvisionResult(url=store.url(), created=owned, protections=protections)
    return Outcome(succeeded=True, reason=Reason.PROVISIONED, provision=result)


def _prove(store: Store, path: str) -> None:
    """Create, be refused to create again, and read. Raises StoreError where the store does not."""
    content = b"llmcloud proves here that it can write.\n"
    store.delete(path)
    store.put(path, content, if_absent=True)
    if store.get(path) != content:
        raise StoreError(f"{store.url(path)} reads differently than it was written.")
    try:
        store.put(path, content, if_absent=True)
    except AlreadyExists:
        return
    raise StoreError(
        f"The store of {store.url()} ignores conditional writes: two attempts could overwrite "
        "each other; use a store that supports them.",
        reason=Reason.CONFIGURATION_INVALID,
    )
