"""Objects in Azure Blob Storage, as block blobs.

Conditional creates rest on `If-None-Match: *`, which is atomic. Each carries its writer's token
as metadata: a request that is repeated may be refused because of its own first try, whose answer
was lost. Blocks that no blob took are dropped by Azure itself after a week.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobClient, BlobProperties, ContainerClient
from requests import RequestException

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud import refusals
from llmcloud.cloud.azure_client import container_client, error_code, translated
from llmcloud.cloud.base import READ_TIMEOUT_SECONDS, REQUEST_ATTEMPTS, ObjectInfo
from llmcloud.cloud.transfer import gather, in_ranges, save

WRITER: Final = "llmcloud_writer"
"""Names of metadata are identifiers of C#."""
PAGE_OBJECTS: Final = 1000
UPLOADS: Final = 4
"""Parts of one file under way at once."""


class AzureStore:
    """The `Store` protocol over one client."""

    def __init__(
        self, location: StoreLocation, read_timeout_seconds: float = READ_TIMEOUT_SECONDS
    ) -> None:
        self.location = location
        self._read_timeout_seconds = read_timeout_seconds

    def url(self, path: str = "") -> str:
        return self.location.url(path)

    def put(self, path: str, body: bytes | Path, *, if_absent: bool = False) -> None:
        with translated(self.location, f"write {self.url(path)}"):
            if isinstance(body, Path):
                assert not if_absent
                with body.open("rb") as file:
                    self._blob(path).upload_blob(
                        file,
                        length=body.stat().st_size,
                        overwrite=True,
                        max_concurrency=UPLOADS,
                        validate_content=True,
                    )
            elif if_absent:
                self._create(path, body)
            else:
                self._blob(path).upload_blob(body, overwrite=True, validate_content=True)

    def get(self, path: str) -> bytes:
        return gather(self.open(path), self.url(path))

    def open(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        with translated(self.location, f"read {self.url(path)}"):
            there = self._pinned(path, etag)
            etag = there.etag
            yield from in_ranges(
                there.bytes, lambda offset, length: self._read(path, etag, offset, length)
            )

    def get_file(self, path: str, destination: Path, *, etag: str | None = None) -> str:
        return save(self.open(path, etag=etag), destination)

    def list(self, path: str) -> Iterator[ObjectInfo]:
        with translated(self.location, f"list {self.url(path)}"):
            for blob in self._blobs(self.location.prefix + path):
                yield _info(blob.name.removeprefix(self.location.prefix), blob)

    def head(self, path: str) -> ObjectInfo | None:
        with translated(self.location, f"look at {self.url(path)}"):
            try:
                return _info(path, self._blob(path).get_blob_properties())
            except ResourceNotFoundError:
                return None

    def delete(self, path: str) -> None:
        with translated(self.location, f"delete {self.url(path)}"):
            try:
                self._blob(path).delete_blob(delete_snapshots="include")
            except ResourceNotFoundError as error:
                if error_code(error) == "ContainerNotFound":
                    raise

    def abandon_uploads(self, path: str) -> None:
        """Blocks that were never committed go with a blob of their name, made and removed."""
        prefix = self.location.prefix + path
        with translated(self.location, f"abandon uploads to {self.url(path)}"):
            there = {blob.name for blob in self._blobs(prefix)}
            begun = {blob.name for blob in self._blobs(prefix, "uncommittedblobs")}
            for name in begun - there:
                self._container.upload_blob(name, b"", overwrite=True)
                self._container.delete_blob(name)

    def _blobs(self, prefix: str, *include: str) -> Iterator[BlobProperties]:
        return self._container.list_blobs(
            name_starts_with=prefix, include=[*include], results_per_page=PAGE_OBJECTS
        )

    @cached_property
    def _container(self) -> ContainerClient:
        return container_client(self.location, self._read_timeout_seconds)

    def _blob(self, path: str) -> BlobClient:
        return self._container.get_blob_client(self.location.prefix + path)

    def _pinned(self, path: str, etag: str | None) -> ObjectInfo:
        try:
            return _info(path, self._blob(path).get_blob_properties(**_if_match(etag)))
        except ResourceModifiedError:
            raise refusals.changed(self.url(path)) from None
        except ResourceNotFoundError as error:
            if error_code(error) == "ContainerNotFound":
                raise
            raise (refusals.changed if etag else refusals.not_found)(self.url(path)) from None

    def _read(self, path: str, etag: str, offset: int, length: int) -> bytes:
        """The SDK repeats a request that is not answered, not one whose answer breaks off."""
        for _ in range(REQUEST_ATTEMPTS):
            try:
                answer = self._blob(path).download_blob(
                    offset, length, validate_content=True, **_if_match(etag)
                )
                part: bytes = answer.readall()
            except (ResourceModifiedError, ResourceNotFoundError):
                raise refusals.changed(self.url(path)) from None
            except RequestException:
                continue
            if len(part) != length:
                raise refusals.damaged(self.url(path))
            return part
        raise refusals.lost(self.url(path), REQUEST_ATTEMPTS)

    def _create(self, path: str, body: bytes) -> None:
        token, blob = uuid4().hex, self._blob(path)
        try:
            blob.upload_blob(body, metadata={WRITER: token}, validate_content=True)
        except ResourceExistsError as error:
            if error_code(error) != "BlobAlreadyExists":
                raise
            if blob.get_blob_properties().metadata.get(WRITER) != token:
                raise refusals.exists(self.url(path)) from None


def _if_match(etag: str | None) -> dict[str, Any]:
    if etag is None:
        return {}
    return {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}


def _info(path: str, blob: Any) -> ObjectInfo:
    """Listings give etags bare, headers in quotes."""
    return ObjectInfo(path, blob.size, blob.etag.strip('"'))
