"""Objects in S3 and in the servers that speak its protocol.

Conditional creates rest on `If-None-Match: *`. Amazon's is atomic. Some servers (versitygw over a
directory is one) look first and link later, so that two writers within some milliseconds are both
told that they created the object, and the later one stays. Every conditional create therefore
carries its writer's token as metadata and, on custom endpoints, is read back after a pause: only
whose token is still there has created it.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.exceptions import (
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from urllib3.exceptions import HTTPError

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud import refusals
from llmcloud.cloud.base import CHUNK_BYTES, READ_TIMEOUT_SECONDS, ObjectInfo
from llmcloud.cloud.s3_client import (
    abort_uploads,
    error_code,
    http_status,
    not_implemented,
    s3_client,
    translated,
)
from llmcloud.cloud.transfer import gather, save

WRITER: Final = "llmcloud-writer"
SETTLE_SECONDS: Final = 0.2
"""How long a server that checks before it links may take between the two."""
CONFLICT_ATTEMPTS: Final = 5
READ_ATTEMPTS: Final = 4
LOST_CONNECTION: Final = (
    HTTPError,  # of a refusal's body, which the SDK reads without repeating it
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
MULTIPART: Final = TransferConfig(
    multipart_threshold=32 * CHUNK_BYTES, multipart_chunksize=16 * CHUNK_BYTES, max_concurrency=4
)


class S3Store:
    """The `Store` protocol over one client."""

    def __init__(
        self, location: StoreLocation, read_timeout_seconds: float = READ_TIMEOUT_SECONDS
    ) -> None:
        self.location = location
        with translated(location, f"open store {location.name}"):
            self._client = s3_client(location, read_timeout_seconds)

    def url(self, path: str = "") -> str:
        return self.location.url(path)

    def put(self, path: str, body: bytes | Path, *, if_absent: bool = False) -> None:
        with translated(self.location, f"write {self.url(path)}"):
            if isinstance(body, Path):
                assert not if_absent
                # Reads parts from the file as they go; aborts the upload when a part fails.
                with create_transfer_manager(self._client, MULTIPART) as transfers:
                    transfers.upload(str(body), self.location.bucket, self._key(path)).result()
            elif if_absent:
                self._create(path, body)
            else:
                self._client.put_object(**self._address(path), Body=body)

    def get(self, path: str) -> bytes:
        return gather(self.open(path), self.url(path))

    def open(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        offset = 0
        for attempt in range(READ_ATTEMPTS):
            with translated(self.location, f"read {self.url(path)}"):
                try:
                    response = self._request(path, offset, etag)
                    etag = response["ETag"]
                    with closing(response["Body"]) as body:
                        for chunk in body.iter_chunks(CHUNK_BYTES):
                            offset += len(chunk)
                            yield chunk
                    return
                except LOST_CONNECTION:
                    continue
                except ClientError as error:
                    cut_off = error_code(error) == "404"  # it did not say what is not there
                    if not cut_off or attempt == READ_ATTEMPTS - 1:
                        raise
        raise refusals.lost(self.url(path), READ_ATTEMPTS)

    def get_file(self, path: str, destination: Path, *, etag: str | None = None) -> str:
        return save(self.open(path, etag=etag), destination)

    def list(self, path: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.location.bucket, Prefix=self._key(path)
        )
        with translated(self.location, f"list {self.url(path)}"):
            for page in pages:
                for entry in page.get("Contents", []):
                    relative = entry["Key"].removeprefix(self.location.prefix)
                    yield ObjectInfo(relative, entry["Size"], entry["ETag"])

    def head(self, path: str) -> ObjectInfo | None:
        answer = self._head(path)
        if answer is None:
            return None
        return ObjectInfo(path, answer["ContentLength"], answer["ETag"])

    def delete(self, path: str) -> None:
        with translated(self.location, f"delete {self.url(path)}"):
            self._client.delete_object(**self._address(path))

    def abandon_uploads(self, path: str) -> None:
        with translated(self.location, f"abandon uploads to {self.url(path)}"):
            try:
                abort_uploads(self._client, self.location.bucket, self._key(path))
            except ClientError as error:
                # Who may read and write objects need not be allowed to list uploads.
                if not not_implemented(error) and error_code(error) != "AccessDenied":
                    raise

    def _key(self, path: str) -> str:
        return self.location.prefix + path

    def _address(self, path: str) -> dict[str, str]:
        return {"Bucket": self.location.bucket, "Key": self._key(path)}

    def _request(self, path: str, offset: int, etag: str | None) -> Any:
        condition = {"IfMatch": etag} if etag else {}
        window = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            return self._client.get_object(**self._address(path), **condition, **window)
        except ClientError as error:
            if http_status(error) == 412 or (etag and error_code(error) == "NoSuchKey"):
                raise refusals.changed(self.url(path)) from None
            if error_code(error) == "NoSuchKey":
                raise refusals.not_found(self.url(path)) from None
            raise

    def _head(self, path: str) -> Any:
        """None if there is no such object, or no such bucket: the answer to HEAD has no body."""
        with translated(self.location, f"look at {self.url(path)}"):
            try:
                return self._client.head_object(**self._address(path))
            except ClientError as error:
                if http_status(error) == 404:
                    return None
                raise

    def _create(self, path: str, body: bytes) -> None:
        token = uuid4().hex
        refused = not self._create_once(path, body, token)
        if refused and self.location.endpoint_url and self._head(path) is None:
            # versitygw takes the mark that a removal leaves in a versioned bucket for an object.
            self._client.put_object(**self._address(path), Body=body, Metadata={WRITER: token})
            refused = False
        if self.location.endpoint_url and not refused:
            time.sleep(SETTLE_SECONDS)
        # A retried request may be refused because of its own first, unanswered try.
        if refused or self.location.endpoint_url:
            answer = self._head(path)
            if answer is not None and answer["Metadata"].get(WRITER) != token:
                raise refusals.exists(self.url(path))

    def _create_once(self, path: str, body: bytes, token: str) -> bool:
        """False if there is such an object. 409 means that another create is under way."""
        for attempt in range(CONFLICT_ATTEMPTS):
            try:
                self._client.put_object(
                    **self._address(path), Body=body, IfNoneMatch="*", Metadata={WRITER: token}
                )
                return True
            except ClientError as error:
                if http_status(error) == 412:
                    return False
                if http_status(error) != 409 or attempt == CONFLICT_ATTEMPTS - 1:
                    raise
                time.sleep(0.1 * 2**attempt)
        return False
