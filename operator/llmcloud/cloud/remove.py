"""Removing a bucket that we created: only with our owner's tag, and said before it is done."""

import logging
from itertools import islice
from typing import Any, Final

from botocore.exceptions import ClientError

from llmcloud.api.contract import DeleteStoreTask, Outcome, StoreLocation
from llmcloud.api.names import Reason
from llmcloud.cloud.errors import BucketNotFound, BucketNotOwned
from llmcloud.cloud.provision import owner_of
from llmcloud.cloud.s3 import S3Store
from llmcloud.cloud.s3_client import not_implemented, translated
from llmcloud.cloud.s3_versions import delete_versions, list_versions

SHOWN_OBJECTS: Final = 20

log = logging.getLogger(__name__)


def remove(task: DeleteStoreTask) -> Outcome:
    """Idempotent: a bucket that is gone is a success. Raises BucketNotOwned."""
    location = task.store
    client = S3Store(location).client
    try:
        owner = owner_of(client, location)
    except BucketNotFound:
        return _done(f"Bucket {location.bucket} is gone.")
    if owner != task.owner_uid:
        raise BucketNotOwned(
            f"Bucket {location.bucket} is kept: it does not carry the tag of this ObjectStore; "
            "remove it yourself, or set spec.reclaimPolicy: Retain."
        )
    whole = location.model_copy(update={"prefix": ""})
    shown = list(islice(list_versions(client, whole, ""), SHOWN_OBJECTS + 1))
    log.info("Removing bucket %s with all its objects, among them:", location.bucket)
    for version in shown[:SHOWN_OBJECTS]:
        log.info("  %s %s", version["Key"], version.get("VersionId", ""))
    if len(shown) > SHOWN_OBJECTS:
        log.info("  ... and more")
    _abort_uploads(client, location)
    removed = delete_versions(client, whole, "")
    with translated(location, f"remove bucket {location.bucket}"):
        client.delete_bucket(Bucket=location.bucket)
    return _done(f"Removed bucket {location.bucket} with {removed} object versions.")


def _abort_uploads(client: Any, location: StoreLocation) -> None:
    with translated(location, f"abort the uploads to bucket {location.bucket}"):
        try:
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=location.bucket)
            for page in pages:
                for upload in page.get("Uploads", []):
                    client.abort_multipart_upload(
                        Bucket=location.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
        except ClientError as error:
            if not not_implemented(error):
                raise


def _done(message: str) -> Outcome:
    return Outcome(succeeded=True, reason=Reason.SUCCEEDED, message=message)
