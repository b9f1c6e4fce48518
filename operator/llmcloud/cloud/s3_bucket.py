"""Buckets of S3 and of the servers that speak its protocol: marked by a tag.

What a server does not implement is left out: that is normal for S3-compatible stores.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from llmcloud.api.contract import StoreLocation
from llmcloud.api.names import LABEL_OWNER_UID
from llmcloud.cloud.bucket import Protections
from llmcloud.cloud.errors import BucketNotFound, StoreError
from llmcloud.cloud.s3_client import (
    DEFAULT_REGION,
    abort_uploads,
    error_code,
    not_implemented,
    s3_client,
    translated,
)

BATCH_OBJECTS: Final = 1000
STALE_UPLOAD_DAYS: Final = 7
UNSET: Final = frozenset(
    {
        "NoSuchPublicAccessBlockConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        "NoSuchTagSet",
    }
)
ENCRYPTION: Final = {
    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
}
LIFECYCLE: Final = {
    "Rules": [
        {
            "ID": "llmcloud-stale-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": STALE_UPLOAD_DAYS},
        }
    ]
}
PRIVATE: Final = dict.fromkeys(
    ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"], True
)


class S3Bucket:
    """The `Bucket` protocol over a client of its own."""

    def __init__(self, location: StoreLocation) -> None:
        self._location = location
        self._name = location.bucket
        with translated(location, f"open store {location.name}"):
            self.client = s3_client(location)

    def exists(self) -> bool:
        # No HEAD: its answer has no body, so a refused key can look like a missing bucket.
        try:
            with translated(self._location, f"look at bucket {self._name}"):
                self.client.list_objects_v2(
                    Bucket=self._name, Prefix=self._location.prefix, MaxKeys=1
                )
        except BucketNotFound:
            return False
        return True

    def create(self, owner_uid: str) -> None:
        region = self.client.meta.region_name
        place = (
            {}
            if region == DEFAULT_REGION
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        tags = [{"Key": LABEL_OWNER_UID, "Value": owner_uid}]
        with translated(self._location, f"create bucket {self._name}"):
            self.client.create_bucket(Bucket=self._name, **place)
            # First of all: what carries no tag is never ours again.
            self.client.put_bucket_tagging(Bucket=self._name, Tagging={"TagSet": tags})

    def owner(self) -> str | None:
        tags = self._ask(
            f"read the tags of bucket {self._name}",
            lambda: self.client.get_bucket_tagging(Bucket=self._name)["TagSet"],
        )
        return next((tag["Value"] for tag in tags or [] if tag["Key"] == LABEL_OWNER_UID), None)

    def protect(self) -> None:
        client, bucket = self.client, self._name
        steps: dict[str, Callable[[], Any]] = {
            "encrypt": lambda: client.put_bucket_encryption(
                Bucket=bucket, ServerSideEncryptionConfiguration=ENCRYPTION
            ),
            "version": lambda: client.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            ),
            "block public access to": lambda: client.put_public_access_block(
                Bucket=bucket, PublicAccessBlockConfiguration=PRIVATE
            ),
            "expire stale uploads of": lambda: client.put_bucket_lifecycle_configuration(
                Bucket=bucket, LifecycleConfiguration=LIFECYCLE
            ),
        }
        for what, step in steps.items():
            self._try(f"{what} bucket {bucket}", step)

    def protections(self, probe: str) -> Protections:
        client, bucket = self.client, self._name

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
            name: self._ask(f"ask whether bucket {bucket} is {name}", check)
            for name, check in checks.items()
        }

    def versions(self) -> Iterator[str]:
        for version in self._versions(""):
            yield f"{version['Key']} {version.get('VersionId', '')}"

    def delete_versions(self, path: str) -> int:
        return self._delete_all(self._location.prefix + path)

    def delete(self) -> int:
        self._try(
            f"abort the uploads to bucket {self._name}",
            lambda: abort_uploads(self.client, self._name),
        )
        removed = self._delete_all("")
        with translated(self._location, f"remove bucket {self._name}"):
            self.client.delete_bucket(Bucket=self._name)
        return removed

    def _versions(self, prefix: str) -> Iterator[dict[str, str]]:
        """Key and VersionId of all versions and delete markers."""
        scope = {"Bucket": self._name, "Prefix": prefix}
        with translated(self._location, f"list the versions of {self._name}/{prefix}"):
            try:
                for page in self.client.get_paginator("list_object_versions").paginate(**scope):
                    for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
                        yield {"Key": entry["Key"], "VersionId": entry["VersionId"]}
            except ClientError as error:
                if not not_implemented(error):
                    raise
                for page in self.client.get_paginator("list_objects_v2").paginate(**scope):
                    for entry in page.get("Contents", []):
                        yield {"Key": entry["Key"]}

    def _delete_all(self, prefix: str) -> int:
        removed = 0
        while batch := _first(self._versions(prefix)):
            with translated(self._location, f"remove objects of bucket {self._name}"):
                answer = self.client.delete_objects(
                    Bucket=self._name, Delete={"Objects": batch, "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise StoreError(
                    f"The store refused to remove {len(errors)} objects of bucket {self._name}, "
                    f"the first with {errors[0].get('Code')}; release them, then delete again."
                )
            removed += len(batch)
        return removed

    def _try(self, action: str, step: Callable[[], Any]) -> None:
        """Do what the server may not know."""
        with translated(self._location, action):
            try:
                step()
            except ClientError as error:
                if not not_implemented(error):
                    raise

    def _ask(self, action: str, call: Callable[[], Any]) -> Any:
        """What `call` reads; False where nothing is set, None where nobody or not we may know."""
        with translated(self._location, action):
            try:
                return call()
            except ClientError as error:
                if error_code(error) in UNSET:
                    return False
                if not_implemented(error) or error_code(error) == "AccessDenied":
                    return None
                raise


def _first(versions: Iterator[dict[str, str]]) -> list[dict[str, str]]:
    return [version for version, _ in zip(versions, range(BATCH_OBJECTS), strict=False)]
