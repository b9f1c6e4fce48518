"""Objects in Cloud Storage. An object's etag is its generation, which no writer can choose.

Conditional creates rest on `ifGenerationMatch: 0`, which is atomic. Each carries its writer's
token as metadata: a request that is repeated may be refused because of its own first try, whose
answer was lost.
"""

from base64 import b64encode
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage import Blob, Client
from google_crc32c import Checksum

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud import refusals
from llmcloud.cloud.base import CHUNK_BYTES, READ_TIMEOUT_SECONDS, ObjectInfo
from llmcloud.cloud.gcs_client import gcs_client, policy, translated
from llmcloud.cloud.transfer import gather, in_ranges, save

WRITER: Final = "llmcloud-writer"
PAGE_OBJECTS: Final = 1000
PART_BYTES: Final = 16 * CHUNK_BYTES
LISTED: Final = "items(name,size,generation),nextPageToken"


class GcsStore:
    """The `Store` protocol over one client."""

    def __init__(
        self, location: StoreLocation, read_timeout_seconds: float = READ_TIMEOUT_SECONDS
    ) -> None:
        self.location = location
        self._policy = policy(read_timeout_seconds)

    def url(self, path: str = "") -> str:
        return self.location.url(path)

    def put(self, path: str, body: bytes | Path, *, if_absent: bool = False) -> None:
        with translated(self.location, f"write {self.url(path)}"):
            if isinstance(body, Path):
                assert not if_absent
                blob = self._blob(path)
                blob.chunk_size = PART_BYTES
                blob.upload_from_filename(str(body), checksum="crc32c", **self._policy)
            elif if_absent:
                self._create(path, body)
            else:
                self._blob(path).upload_from_string(body, checksum="crc32c", **self._policy)

    def get(self, path: str) -> bytes:
        return gather(self.open(path), self.url(path))

    def open(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        with translated(self.location, f"read {self.url(path)}"):
            blob = self._pinned(path, etag)
            checksum: Any = Checksum()  # type: ignore[no-untyped-call]
            for chunk in in_ranges(
                blob.size, lambda at, length: self._read(blob, path, at, length)
            ):
                checksum.update(chunk)
                yield chunk
        if blob.crc32c and b64encode(checksum.digest()).decode() != blob.crc32c:
            raise refusals.damaged(self.url(path))

    def get_file(self, path: str, destination: Path, *, etag: str | None = None) -> str:
        return save(self.open(path, etag=etag), destination)

    def list(self, path: str) -> Iterator[ObjectInfo]:
        with translated(self.location, f"list {self.url(path)}"):
            for blob in self._client.list_blobs(
                self.location.bucket,
                prefix=self.location.prefix + path,
                page_size=PAGE_OBJECTS,
                fields=LISTED,
                **self._policy,
            ):
                relative = blob.name.removeprefix(self.location.prefix)
                yield ObjectInfo(relative, blob.size, str(blob.generation))

    def head(self, path: str) -> ObjectInfo | None:
        with translated(self.location, f"look at {self.url(path)}"):
            blob = self._blob(path)
            try:
                blob.reload(**self._policy)
            except NotFound:
                return None
        return ObjectInfo(path, blob.size, str(blob.generation))

    def delete(self, path: str) -> None:
        with translated(self.location, f"delete {self.url(path)}"):
            try:
                self._blob(path).delete(**self._policy)
            except NotFound:
                self._require_bucket()

    def abandon_uploads(self, path: str) -> None:
        """Resumable uploads are listed nowhere."""

    @cached_property
    def _client(self) -> Client:
        return gcs_client(self.location)

    def _blob(self, path: str) -> Blob:
        return self._client.bucket(self.location.bucket).blob(self.location.prefix + path)

    def _pinned(self, path: str, etag: str | None) -> Any:
        """The object's properties; later requests name their generation."""
        blob = self._blob(path)
        try:
            blob.reload(**self._policy)
        except NotFound:
            self._require_bucket()
            raise (refusals.changed if etag else refusals.not_found)(self.url(path)) from None
        if etag and str(blob.generation) != etag:
            raise refusals.changed(self.url(path))
        return blob

    def _read(self, blob: Any, path: str, offset: int, length: int) -> bytes:
        try:
            part: bytes = blob.download_as_bytes(
                start=offset,
                end=offset + length - 1,
                if_generation_match=blob.generation,
                raw_download=True,
                checksum=None,  # of a part there is none: `open` compares the whole
                **self._policy,
            )
        except (NotFound, PreconditionFailed):
            raise refusals.changed(self.url(path)) from None
        if len(part) != length:
            raise refusals.damaged(self.url(path))
        return part

    def _create(self, path: str, body: bytes) -> None:
        token = uuid4().hex
        blob = self._blob(path)
        blob.metadata = {WRITER: token}
        try:
            blob.upload_from_string(body, if_generation_match=0, checksum="crc32c", **self._policy)
        except PreconditionFailed:
            there = self._blob(path)
            there.reload(**self._policy)
            if (there.metadata or {}).get(WRITER) != token:
                raise refusals.exists(self.url(path)) from None

    def _require_bucket(self) -> None:
        """Raises NotFound if it is the bucket that is missing, not the object."""
        list(self._client.list_blobs(self.location.bucket, max_results=1, **self._policy))
