"""The one protocol of the buckets themselves: made, marked, protected, and removed whole.

Only `provision` and `remove` use it. A store that does not know a call is normal: its protection
is None, which is no failure.
"""

from collections.abc import Iterator
from typing import Protocol

from llmcloud.api.contract import StoreLocation

Protections = dict[str, bool | None]


class Bucket(Protocol):
    """The bucket or container of a location. Every method may raise `StoreError`."""

    def exists(self) -> bool: ...

    def create(self, owner_uid: str) -> None:
        """Create it with the owner's mark. Raises BucketNotOwned if the name is taken."""
        ...

    def owner(self) -> str | None:
        """The uid that it is marked with, None if with none. Raises BucketNotFound."""
        ...

    def protect(self) -> None:
        """Set every protection that the store knows."""
        ...

    def protections(self, probe: str | None) -> Protections:
        """Which of encrypted, versioned, private and uploadsExpire hold, by asking; `probe` is an
        object of ours, None where none was written.

        None: the store cannot tell, or not us, hence promises nothing.
        """
        ...

    def versions(self) -> Iterator[str]:
        """Names of all object versions in the whole bucket, for people."""
        ...

    def delete_versions(self, path: str) -> int:
        """Remove what begins with a path of the store, every version; returns their number."""
        ...

    def delete(self) -> int:
        """Remove the bucket and all that is in it; returns the number of object versions."""
        ...


def open_bucket(location: StoreLocation) -> Bucket:
    """The adapter for a location. Opens no connection yet."""
    match location.provider:
        case "aws":
            from llmcloud.cloud.s3_bucket import S3Bucket

            return S3Bucket(location)
        case "gcp":
            from llmcloud.cloud.gcs_bucket import GcsBucket

            return GcsBucket(location)
        case "azure":
            from llmcloud.cloud.azure_bucket import AzureBucket

            return AzureBucket(location)
