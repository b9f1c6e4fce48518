"""Containers of Azure Blob Storage: marked by metadata.

Encryption is always on and versioning is the account's: both are read off an object.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContainerClient

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.azure_client import container_client, translated
from llmcloud.cloud.bucket import Protections
from llmcloud.cloud.errors import BucketNotFound
from llmcloud.cloud.parallel import in_parallel

OWNER: Final = "llmcloud_owner_uid"


class AzureBucket:
    """The `Bucket` protocol over a client of its own."""

    def __init__(self, location: StoreLocation) -> None:
        self._location = location
        self._name = location.bucket

    def exists(self) -> bool:
        try:
            with translated(self._location, f"look at container {self._name}"):
                next(iter(self._container.list_blobs(results_per_page=1)), None)
        except BucketNotFound:
            return False
        return True

    def create(self, owner_uid: str) -> None:
        with translated(self._location, f"create container {self._name}"):
            self._container.create_container(metadata={OWNER: owner_uid})

    def owner(self) -> str | None:
        with translated(self._location, f"look at container {self._name}"):
            try:
                metadata = self._container.get_container_properties().metadata
            except ClientAuthenticationError:
                return None
        return metadata.get(OWNER)

    def protect(self) -> None:
        with translated(self._location, f"block public access to container {self._name}"):
            if self._container.get_container_properties().public_access is None:
                return
            policy: Any = self._container.get_container_access_policy()
            kept = {item.id: item.access_policy for item in policy["signed_identifiers"]}
            self._container.set_container_access_policy(kept, public_access=None)

    def protections(self, probe: str | None) -> Protections:
        prefix = self._location.prefix + (probe or "")
        with translated(self._location, f"ask what protects container {self._name}"):
            blobs = self._container.list_blobs(name_starts_with=prefix, results_per_page=1)
            blob: Any = next(iter(blobs), None)
            if blob is not None:
                blob = self._container.get_blob_client(blob.name).get_blob_properties()
            container = self._container.get_container_properties()
        versioned = blob is not None and blob.version_id is not None
        return {
            "encrypted": bool(blob.server_encrypted) if blob is not None else None,
            # An object that is older than the account's versioning has no version.
            "versioned": versioned or (False if probe else None),
            "private": container.public_access is None,
            # Azure ends them after a week and has no property that says so; others may not.
            "uploadsExpire": self._location.endpoint_url is None or None,
        }

    def versions(self) -> Iterator[str]:
        for blob in self._versions(""):
            yield f"{blob.name} {blob.version_id or blob.snapshot or ''}"

    def delete_versions(self, path: str) -> int:
        prefix = self._location.prefix + path
        removed = sum(1 for _ in self._versions(prefix))
        # The current version cannot be named: it goes with its blob, which leaves it as an older.
        for _ in in_parallel(self._delete_blob, self._blobs(prefix)):
            pass
        for _ in in_parallel(self._delete_version, self._versions(prefix)):
            pass
        return removed

    def delete(self) -> int:
        """The container goes with all that is in it in one request."""
        removed = sum(1 for _ in self._versions(""))
        with translated(self._location, f"remove container {self._name}"):
            self._container.delete_container()
        return removed

    @cached_property
    def _container(self) -> ContainerClient:
        return container_client(self._location)

    def _blobs(self, prefix: str, include: list[str] | None = None) -> Iterator[BlobProperties]:
        with translated(self._location, f"list container {self._name}"):
            yield from self._container.list_blobs(name_starts_with=prefix, include=include)

    def _versions(self, prefix: str) -> Iterator[BlobProperties]:
        return self._blobs(prefix, ["versions", "snapshots"])

    def _delete_blob(self, blob: BlobProperties) -> None:
        with translated(self._location, f"remove objects of container {self._name}"):
            try:
                self._container.delete_blob(blob.name, delete_snapshots="include")
            except ResourceNotFoundError:
                return

    def _delete_version(self, blob: BlobProperties) -> None:
        with translated(self._location, f"remove objects of container {self._name}"):
            try:
                self._container.delete_blob(blob.name, version_id=blob.version_id)
            except ResourceNotFoundError:
                return
