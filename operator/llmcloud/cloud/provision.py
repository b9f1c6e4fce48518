"""Provisioning: create or adopt a bucket, set or read its protections, prove that it works.

A bucket that we create carries its owner's uid as a mark; only such a bucket is ever changed or
removed. An adopted one is used as it is: it is written to once to prove that this works, and where
the credentials may only read and nothing asks for more than that, it is used for reading.
"""

import logging

from llmcloud.api.contract import Outcome, ProvisionResult, ProvisionTask
from llmcloud.api.names import Reason
from llmcloud.cloud import refusals
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.bucket import open_bucket
from llmcloud.cloud.errors import AlreadyExists, CredentialsRefused, StoreError

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
    writable = True
    if owned or not task.proven:
        writable = _prove(store, probe, may_refuse=not task.create)
        protections = bucket.protections(probe if writable else None)
        if owned:
            bucket.delete_versions(probe)
        elif writable:
            store.delete(probe)
    else:
        protections = bucket.protections(None)
    protections["owned"] = bucket.owner() == task.owner_uid
    result = ProvisionResult(url=store.url(), writable=writable, protections=protections)
    return Outcome(succeeded=True, reason=Reason.PROVISIONED, provision=result)


def _prove(store: Store, path: str, *, may_refuse: bool) -> bool:
    """Create, be refused to create again, and read; False if we may not write.

    Raises StoreError where the store does not, CredentialsRefused unless it `may_refuse`.
    """
    content = b"llmcloud proves here that it can write.\n"
    try:
        store.delete(path)
        store.put(path, content, if_absent=True)
    except CredentialsRefused:
        if not may_refuse:
            raise
        return False
    if store.get(path) != content:
        raise StoreError(f"{store.url(path)} reads differently than it was written.")
    try:
        store.put(path, content, if_absent=True)
    except AlreadyExists:
        return True
    raise StoreError(
        f"The store of {store.url()} ignores conditional writes: two attempts could overwrite "
        "each other; use a store that supports them.",
        reason=Reason.CONFIGURATION_INVALID,
    )
