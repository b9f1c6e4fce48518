"""What every adapter does with the bytes that it reads: bounded ranges, documents, files."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from llmcloud.cloud.base import CHUNK_BYTES, DOCUMENT_BYTES
from llmcloud.cloud.errors import DigestMismatch

RANGE_BYTES: Final = 4 * CHUNK_BYTES
"""What one request asks of a large object, where a whole request is what is repeated."""


def in_ranges(size_bytes: int, read: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """An object's bytes in chunks of at most CHUNK_BYTES; `read(offset, length)` is one request."""
    for offset in range(0, size_bytes, RANGE_BYTES):
        part = memoryview(read(offset, min(RANGE_BYTES, size_bytes - offset)))
        for start in range(0, len(part), CHUNK_BYTES):
            yield bytes(part[start : start + CHUNK_BYTES])


def gather(chunks: Iterable[bytes], url: str) -> bytes:
    """A small object whole. Raises DigestMismatch above DOCUMENT_BYTES."""
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > DOCUMENT_BYTES:
            raise DigestMismatch(
                f"{url} is larger than {DOCUMENT_BYTES} bytes: it is no document of llmcloud; "
                "remove it."
            )
    return bytes(content)


def save(chunks: Iterable[bytes], destination: Path) -> str:
    """Write an object to a local file; returns the SHA-256 (hex) of its bytes."""
    sha256 = hashlib.sha256()
    with destination.open("wb") as file:
        for chunk in chunks:
            sha256.update(chunk)
            file.write(chunk)
    return sha256.hexdigest()
