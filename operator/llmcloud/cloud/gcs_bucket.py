"""Buckets of Cloud Storage: marked by a label."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from google.api_core.exceptions import (
    Conflict,
    Forbidden,
    GoogleAPICallError,
    MethodNotAllowed,
    MethodNotImplemented,
    NotFound,
)
from google.cloud.storage import Client

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud import refusals
from llmcloud.cloud.bucket import Protections
from llmcloud.cloud.errors import BucketNotFound, ConfigurationInvalid, StoreError
from llmcloud.cloud.gcs_client import gcs_client, policy, translated
from llmcloud.cloud.lifecycle import gcs_rules, gcs_uploads_expire
from llmcloud.cloud.parallel import in_parallel

OWNER_LABEL: Final = "llmcloud-owner-uid"
"""Labels have no slash and no dot."""
POLICY: Final = policy()


class GcsBucket:
    """The `Bucket` protocol over a client of its own."""

    def __init__(self, location: StoreLocation) -> None:
        self._location = location
        self._name = location.bucket

    def exists(self) -> bool:
        try:
            with translated(self._location, f"look at bucket {self._name}"):
                list(
                    self._client.list_blobs(
                        self._name, prefix=self._location.prefix, max_results=1, **POLICY
                    )
                )
        except BucketNotFound:
            return False
        return True

    def create(self, owner_uid: str) -> None:
        with translated(self._location, f"create bucket {self._name}"):
            if not self._client.project:
                raise ConfigurationInvalid(
                    f"Bucket {self._name} cannot be created: the pod's identity names no project; "
                    "create the bucket yourself, or give the store a service account's key."
                )
            bucket = self._client.bucket(self._name)
            bucket.labels = {OWNER_LABEL: owner_uid}
            bucket.iam_configuration.uniform_bucket_level_access_enabled = True
            try:
                self._client.create_bucket(bucket, location=self._location.region, **POLICY)
            except Conflict:
                raise refusals.bucket_taken(self._location, f"create bucket {self._name}") from None

    def owner(self) -> str | None:
        bucket = self._properties()
        return bucket.labels.get(OWNER_LABEL) if bucket else None

    def protect(self) -> None:
        with translated(self._location, f"protect bucket {self._name}"):
            bucket = self._client.get_bucket(self._name, **POLICY)
            bucket.versioning_enabled = True
            bucket.iam_configuration.uniform_bucket_level_access_enabled = True
            bucket.iam_configuration.public_access_prevention = "enforced"
            rules = gcs_rules([dict(rule) for rule in bucket.lifecycle_rules])
            if rules is not None:
                bucket.lifecycle_rules = rules
            try:
                bucket.patch(**POLICY)
            except (MethodNotAllowed, MethodNotImplemented):
                return

    def protections(self, probe: str | None) -> Protections:
        bucket = self._properties()
        if bucket is None:
            return dict.fromkeys(("encrypted", "versioned", "private", "uploadsExpire"))
        access = bucket.iam_configuration
        private = (
            access.uniform_bucket_level_access_enabled
            and access.public_access_prevention == "enforced"
        )
        # Google encrypts always, ends uploads of its own API after a week, and has no properties
        # that say so; others promise nothing.
        google = self._location.endpoint_url is None
        encrypted = bool(bucket.default_kms_key_name) or google
        expire = gcs_uploads_expire([dict(rule) for rule in bucket.lifecycle_rules]) or google
        return {
            "encrypted": encrypted or None,
            "versioned": bool(bucket.versioning_enabled),
            "private": bool(private),
            "uploadsExpire": expire or None,
        }

    def versions(self) -> Iterator[str]:
        for name, generation in self._versions(""):
            yield f"{name} {generation}"

    def delete_versions(self, path: str) -> int:
        return self._delete_all(self._location.prefix + path)

    def delete(self) -> int:
        removed = self._delete_all("")
        with translated(self._location, f"remove bucket {self._name}"):
            try:
                self._client.bucket(self._name).delete(**POLICY)
            except Conflict:
                raise StoreError(
                    f"Bucket {self._name} is written to while it is removed; stop the writers."
                ) from None
        return removed

    @cached_property
    def _client(self) -> Client:
        return gcs_client(self._location)

    def _properties(self) -> Any:
        """None where the credentials may use the objects only."""
        with translated(self._location, f"look at bucket {self._name}"):
            try:
                return self._client.get_bucket(self._name, **POLICY)
            except Forbidden:
                return None

    def _versions(self, prefix: str) -> Iterator[tuple[str, int]]:
        with translated(self._location, f"list the versions of {self._name}/{prefix}"):
            for blob in self._client.list_blobs(
                self._name, prefix=prefix, versions="true", **POLICY
            ):
                yield blob.name, blob.generation

    def _delete_all(self, prefix: str) -> int:
        return sum(in_parallel(self._delete_version, self._versions(prefix)))

    def _delete_version(self, version: tuple[str, int]) -> int:
        name, generation = version
        with translated(self._location, f"remove objects of bucket {self._name}"):
            try:
                self._client.bucket(self._name).delete_blob(name, generation=generation, **POLICY)
            except NotFound:
                return 0
            except GoogleAPICallError as error:
                if error.code in (400, 409, 412):
                    raise StoreError(
                        f"The store refused to remove {name} of bucket {self._name} "
                        f"({error.code}); release it, then delete again."
                    ) from None
                raise
        return 1
