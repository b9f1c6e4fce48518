"""Buckets of S3 and of the servers that speak its protocol: marked by a tag.

What a server does not implement is left out: that is normal for S3-compatible stores.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from llmcloud.api.contract import StoreLocation
from llmcloud.api.names import LABEL_OWNER_UID
from llmcloud.cloud import refusals
from llmcloud.cloud.bucket import Protections
from llmcloud.cloud.errors import BucketNotFound, StoreError, TaskError
from llmcloud.cloud.lifecycle import s3_rules, s3_uploads_expire
from llmcloud.cloud.s3_client import (
    DEFAULT_REGION,
    abort_uploads,
    error_code,
    not_implemented,
    s3_client,
    translated,
)

BATCH_OBJECTS: Final = 1000
UNSET: Final = frozenset(
    {
        "NoSuchLifecycleConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        "NoSuchTagSet",
    }
)
ENCRYPTION: Final = {
    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
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
        place = {} if region == DEFAULT_REGION else {"LocationConstraint": region}
        mark = {"Tags": [{"Key": LABEL_OWNER_UID, "Value": owner_uid}]}
        action = f"create bucket {self._name}"
        with translated(self._location, action):
            try:
                # With the mark, so that no crash lies between; not all keys and servers allow it.
                self._create({**place, **mark})
            except ClientError as error:
                if error_code(error) == "BucketAlreadyExists":
                    raise
                self._create(place)
        owner = self.owner()
        if owner == owner_uid:
            return
        if owner is not None or next(self._versions(""), None) is not None:
            raise refusals.bucket_taken(self._location, action)
        try:
            self._mark(owner_uid)
        except TaskError:
            # What carries no tag is never ours again. Only an empty bucket can go this way.
            with suppress(ClientError, BotoCoreError):
                self.client.delete_bucket(Bucket=self._name)
            raise

    def _create(self, configuration: dict[str, Any]) -> None:
        place = {"CreateBucketConfiguration": configuration} if configuration else {}
        try:
            self.client.create_bucket(Bucket=self._name, **place)
        except ClientError as error:
            # A moment ago there was none: it is of our own first try, if its answer was lost.
            if error_code(error) != "BucketAlreadyOwnedByYou":
                raise

    def _mark(self, owner_uid: str) -> None:
        tags = [{"Key": LABEL_OWNER_UID, "Value": owner_uid}]
        self._try(
            f"put the owner's tag on bucket {self._name}",
            lambda: self.client.put_bucket_tagging(Bucket=self._name, Tagging={"TagSet": tags}),
        )

    def owner(self) -> str | None:
        tags = self._ask(
            f"read the tags of bucket {self._name}",
            lambda: self.client.get_bucket_tagging(Bucket=self._name)["TagSet"],
        )
        return next((tag["Value"] for tag in tags or [] if tag["Key"] == LABEL_OWNER_UID), None)

    def protect(self) -> None:
        client, bucket = self.client, self._name
        steps: dict[str, tuple[Callable[[], bool], Callable[[], Any]]] = {
            "encrypt": (
                self._encrypted,
                lambda: client.put_bucket_encryption(
                    Bucket=bucket, ServerSideEncryptionConfiguration=ENCRYPTION
                ),
            ),
            "version": (
                self._versioned,
                lambda: client.put_bucket_versioning(
                    Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
                ),
            ),
            "block public access to": (
                self._private,
                lambda: client.put_public_access_block(
                    Bucket=bucket, PublicAccessBlockConfiguration=PRIVATE
                ),
            ),
        }
        for what, (holds, put) in steps.items():
            if self._ask(f"look whether to {what} bucket {bucket}", holds) is not True:
                self._try(f"{what} bucket {bucket}", put)
        self._set_lifecycle()

    def _set_lifecycle(self) -> None:
        """Where the rules cannot be read they stay: writing replaces those of others."""
        client, bucket = self.client, self._name
        found = self._ask(
            f"read the lifecycle of bucket {bucket}",
            lambda: client.get_bucket_lifecycle_configuration(Bucket=bucket),
        )
        if found is None:
            return
        versioned = self._ask(f"ask whether bucket {bucket} is versioned", self._versioned)
        rules = s3_rules(found["Rules"] if found else [], versioned=versioned is True)
        if rules is None:
            return
        sizes = "TransitionDefaultMinimumObjectSize"
        kept = {sizes: found[sizes]} if found and sizes in found else {}
        self._try(
            f"set the lifecycle of bucket {bucket}",
            lambda: client.put_bucket_lifecycle_configuration(
                Bucket=bucket, LifecycleConfiguration={"Rules": rules}, **kept
            ),
        )

    def protections(self, probe: str | None) -> Protections:
        checks = {
            "encrypted": self._encrypted,
            "versioned": self._versioned,
            "private": self._private,
            "uploadsExpire": self._uploads_expire,
        }
        return {
            name: self._ask(f"ask bucket {self._name} for {name}", check)
            for name, check in checks.items()
        }

    def _encrypted(self) -> bool:
        answer = self.client.get_bucket_encryption(Bucket=self._name)
        return bool(answer["ServerSideEncryptionConfiguration"]["Rules"])

    def _versioned(self) -> bool:
        answer = self.client.get_bucket_versioning(Bucket=self._name)
        return bool(answer.get("Status") == "Enabled")

    def _private(self) -> bool:
        answer = self.client.get_public_access_block(Bucket=self._name)
        return all(answer["PublicAccessBlockConfiguration"].values())

    def _uploads_expire(self) -> bool:
        found = self.client.get_bucket_lifecycle_configuration(Bucket=self._name)
        return s3_uploads_expire(found["Rules"], self._location.prefix)

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
