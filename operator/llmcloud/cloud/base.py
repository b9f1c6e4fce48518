"""The one protocol of all object stores: small, synchronous, streaming.

Paths are relative to the store's prefix. Nothing here knows a provider; `open_store` chooses the
adapter. There is no rename, no copy and no unconditional "exists, then write": what must be
created once is created with `if_absent`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from llmcloud.api.contract import StoreLocation

CHUNK_BYTES: Final = 1024 * 1024
DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""The largest object that `Store.get` reads into memory."""
CONNECT_TIMEOUT_SECONDS: Final = 2
READ_TIMEOUT_SECONDS: Final = 60
REQUEST_ATTEMPTS: Final = 4
"""Of every request to a store, the first one included."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object: `path` relative to the store's prefix, its size, and what changes with it."""

    path: str
    bytes: int
    etag: str


class Store(Protocol):
    """One ObjectStore. Safe for use by several threads. Every method may raise `StoreError`."""

    @property
    def location(self) -> StoreLocation: ...

    def url(self, path: str = "") -> str:
        """For people and for status: `StoreLocation.url`."""
        ...

    def put(self, path: str, body: bytes | Path, *, if_absent: bool = False) -> None:
        """Write an object from memory or from a file.

        With `if_absent` (memory only) exactly one of several writers succeeds; the others get
        AlreadyExists.
        """
        ...

    def get(self, path: str) -> bytes:
        """A small object whole. Raises ObjectNotFound; DigestMismatch above DOCUMENT_BYTES."""
        ...

    def open(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        """An object's bytes in chunks of at most CHUNK_BYTES, resumed after a lost connection.

        Raises ObjectNotFound, and ObjectChanged where it is not (or no longer) the one of `etag`.
        """
        ...

    def get_file(self, path: str, destination: Path, *, etag: str | None = None) -> str:
        """Write an object to a local file; returns the SHA-256 (hex) of what was read."""
        ...

    def list(self, path: str) -> Iterator[ObjectInfo]:
        """Objects whose path begins with `path`, in the order of their keys, page by page."""
        ...

    def head(self, path: str) -> ObjectInfo | None:
        """The object's size and etag, None if there is none."""
        ...

    def delete(self, path: str) -> None:
        """Remove an object; it is no error if there is none."""
        ...

    def abandon_uploads(self, path: str) -> None:
        """Give up what was begun to be uploaded below `path` and never finished: also what others
        upload in this moment, which fails or is lost.

        Where the store does not list such uploads, or not to us, they end a week after they began.
        """
        ...


def open_store(
    location: StoreLocation, *, read_timeout_seconds: float = READ_TIMEOUT_SECONDS
) -> Store:
    """The adapter for a location. Opens no connection yet; imports that provider's SDK alone.

    A server that is silent for `read_timeout_seconds` is asked again.
    """
    match location.provider:
        case "aws":
            from llmcloud.cloud.s3 import S3Store

            return S3Store(location, read_timeout_seconds)
        case "gcp":
            from llmcloud.cloud.gcs import GcsStore

            return GcsStore(location, read_timeout_seconds)
        case "azure":
            from llmcloud.cloud.azure import AzureStore

            return AzureStore(location, read_timeout_seconds)
