"""Provisioning: create or adopt a bucket, set or read its protections, prove that it works.

A bucket that we create carries its owner's uid as a tag; only such a bucket is ever changed or
removed. An adopted one is used as it is. What a server does not implement is absent from the
result: that is normal for S3-compatible stores and no failure.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import ClientError

from llmcloud.api.contract import Outcome, ProvisionResult, ProvisionTask, StoreLocation
from llmcloud.api.names import LABEL_OWNER_UID, Reason
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import AlreadyExists, BucketNotFound, StoreError
from llmcloud.cloud.s3 import S3Store
from llmcloud.cloud.s3_client import (
    DEFAULT_REGION,
    error_code,
    not_implemented,
    translated,
)
from llmcloud.cloud.s3_versions import delete_versions

STALE_UPLOAD_DAYS: Final = 7
UNSET: Final = frozenset(
    {
        "NoSuchPublicAccessBlockConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        "NoSuchTagSet",
    }
)

log = logging.getLogger(__name__)


def provision(task: ProvisionTask) -> Outcome:
    """Idempotent: run again, it sets again what a bucket of ours has lost."""
    location = task.store
    store = S3Store(location)
    client = store.client
    created = False
    if not _exists(client, location):
        if not task.create:
            raise BucketNotFound(
                f"Bucket {location.bucket} of ObjectStore {location.name} does not exist; create "
                "it, correct spec.bucket, or set spec.create: true in a new ObjectStore."
            )
        _create(client, location, task.owner_uid)
        created = True
    owned = created or owner_of(client, location) == task.owner_uid
    if owned:
        _protect(client, location)
    protections = _protections(client, location)
    probe = f".llmcloud-probe-{task.owner_uid}"
    _prove(store, probe)
    if owned:
        delete_versions(client, location, probe)
    else:
        store.delete(probe)
    result = ProvisionResult(url=store.url(), created=owned, protections=protections)
    return Outcome(succeeded=True, reason=Reason.PROVISIONED, provision=result)


def owner_of(client: Any, location: StoreLocation) -> str | None:
    """The owner's uid that the bucket is tagged with, None if it has none or has no tags."""
    tags = _ask(
        location,
        f"read the tags of bucket {location.bucket}",
        lambda: client.get_bucket_tagging(Bucket=location.bucket)["TagSet"],
    )
    return next((tag["Value"] for tag in tags or [] if tag["Key"] == LABEL_OWNER_UID), None)


def _exists(client: Any, location: StoreLocation) -> bool:
    # No HEAD: its answer has no body, so a refused key can look like a missing bucket.
    try:
        with translated(location, f"look at bucket {location.bucket}"):
            client.list_objects_v2(Bucket=location.bucket, Prefix=location.prefix, MaxKeys=1)
    except BucketNotFound:
        return False
    return True


def _create(client: Any, location: StoreLocation, owner_uid: str) -> None:
    region = client.meta.region_name
    place = (
        {}
        if region == DEFAULT_REGION
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    with translated(location, f"create bucket {location.bucket}"):
        client.create_bucket(Bucket=location.bucket, **place)
        log.info("Created bucket %s", location.bucket)
        # First of all: what carries no tag is never ours again.
        client.put_bucket_tagging(
            Bucket=location.bucket,
            Tagging={"TagSet": [{"Key": LABEL_OWNER_UID, "Value": owner_uid}]},
        )


def _protect(client: Any, location: StoreLocation) -> None:
    bucket = location.bucket
    encryption = {
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
    }
    lifecycle = {
        "Rules": [
            {
                "ID": "llmcloud-stale-uploads",
                "Status": "Enabled",
                "Filter": {"Prefix": ""},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": STALE_UPLOAD_DAYS},
            }
        ]
    }
    private = dict.fromkeys(
        ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"], True
    )
    steps: dict[str, Callable[[], Any]] = {
        "encrypt": lambda: client.put_bucket_encryption(
            Bucket=bucket, ServerSideEncryptionConfiguration=encryption
        ),
        "version": lambda: client.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        ),
        "block public access to": lambda: client.put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration=private
        ),
        "expire stale uploads of": lambda: client.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration=lifecycle
        ),
    }
    for what, step in steps.items():
        with translated(location, f"{what} bucket {bucket}"):
            try:
                step()
            except ClientError as error:
                if not not_implemented(error):
                    raise


def _protections(client: Any, location: StoreLocation) -> dict[str, bool | None]:
    """What holds, by asking. None: the store cannot tell us, hence promises nothing."""
    bucket = location.bucket

    def encrypted() -> bool:
        answer = client.get_bucket_encryption(Bucket=bucket)
        return bool(answer["ServerSideEncryptionConfiguration"]["Rules"])

    def versioned() -> bool:
        return bool(client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled")

    def private() -> bool:
        answer = client.get_public_access_block(Bucket=bucket)
        return all(answer["PublicAccessBlockConfiguration"].values())

    checks = {"encrypted": encrypted, "versioned": versioned, "private": private}
    return {
        name: _ask(location, f"ask whether bucket {bucket} is {name}", check)
        for name, check in checks.items()
    }


def _ask(location: StoreLocation, action: str, call: Callable[[], Any]) -> Any:
    """What `call` reads; False where nothing is set, None where nobody or not we may know."""
    with translated(location, action):
        try:
            return call()
        except ClientError as error:
            if error_code(error) in UNSET:
                return False
            if not_implemented(error) or error_code(error) == "AccessDenied":
                return None
            raise


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
        f"The store of {store.url()} ignores If-None-Match: two attempts could overwrite each "
        "other; use a store that supports conditional writes.",
        reason=Reason.CONFIGURATION_INVALID,
    )
