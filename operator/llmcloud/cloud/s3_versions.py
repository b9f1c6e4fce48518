"""Removing objects for good: every version and delete marker, where a bucket keeps them."""

from collections.abc import Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.errors import StoreError
from llmcloud.cloud.s3_client import not_implemented, translated

BATCH_OBJECTS: Final = 1000


def list_versions(client: Any, location: StoreLocation, path: str) -> Iterator[dict[str, str]]:
    """Key and VersionId of all versions and markers below a path of the store."""
    prefix = location.prefix + path
    with translated(location, f"list the versions of {location.bucket}/{prefix}"):
        try:
            pages = client.get_paginator("list_object_versions").paginate(
                Bucket=location.bucket, Prefix=prefix
            )
            for page in pages:
                for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
                    yield {"Key": entry["Key"], "VersionId": entry["VersionId"]}
        except ClientError as error:
            if not not_implemented(error):
                raise
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=location.bucket, Prefix=prefix
            )
            for page in pages:
                for entry in page.get("Contents", []):
                    yield {"Key": entry["Key"]}


def delete_versions(client: Any, location: StoreLocation, path: str) -> int:
    """Remove everything below a path; returns the number of versions removed."""
    removed = 0
    while batch := _first(list_versions(client, location, path)):
        with translated(location, f"remove objects of bucket {location.bucket}"):
            answer = client.delete_objects(
                Bucket=location.bucket, Delete={"Objects": batch, "Quiet": True}
            )
        if errors := answer.get("Errors"):
            raise StoreError(
                f"The store refused to remove {len(errors)} objects of bucket {location.bucket}, "
                f"the first with {errors[0].get('Code')}; release them, then delete again."
            )
        removed += len(batch)
    return removed


def _first(versions: Iterator[dict[str, str]]) -> list[dict[str, str]]:
    return [version for version, _ in zip(versions, range(BATCH_OBJECTS), strict=False)]
