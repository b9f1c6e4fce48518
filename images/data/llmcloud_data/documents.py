"""Documents: the records of all sources in one stream, and which of them are held out.

The order is that of (store, key, position in the object): the same sources give the same stream.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmcloud.api.base import canonical_json
from llmcloud.api.dataset import Format
from llmcloud_data.examples import Example, Shape, example_of
from llmcloud_data.records import read_records
from llmcloud_data.rejections import Rejection
from llmcloud_data.sources import SourceFile

LOGGED_REJECTIONS: Final = 100
DIGEST: Final = np.dtype("S32")
HASH_RANGE: Final = 1 << 64

Digests = NDArray[np.bytes_]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DocumentId:
    """Which document: the record number `index` of an object, counted from 0."""

    store: str
    key: str
    index: int

    def __str__(self) -> str:
        return f"store {self.store}, {self.key}, record {self.index}"


@dataclass(frozen=True, slots=True)
class Document:
    """One example, and where it comes from."""

    id: DocumentId
    format: Format
    example: Example


class Rejections:
    """Counts documents that are left out, by reason, and logs which the first of them are."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, reason: Rejection, document: DocumentId) -> None:
        self._counts[reason] += 1
        if self._counts[reason] <= LOGGED_REJECTIONS:
            log.info("Left out (%s): %s", reason, document)

    def counts(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))


def read_documents(
    files: Iterable[SourceFile], shape: Shape, rejections: Rejections
) -> Iterator[Document]:
    """The documents of all files in their order."""
    for source in files:
        records = read_records(source.file, source.format, source.members)
        for index, record in enumerate(records):
            identity = DocumentId(source.entry.store, source.entry.key, index)
            example = record if isinstance(record, Rejection) else example_of(shape, record)
            if isinstance(example, Rejection):
                rejections.add(example, identity)
            else:
                yield Document(identity, source.format, example)


def document_digest(example: Example) -> bytes:
    """What makes two documents copies, and decides on which side of the split one is.

    SHA-256 of the parts, in which runs of white space count as one space. Labels, tags and roles
    do not count, so that no text lies on both sides.
    """
    if example.type == "text":
        return text_digest(example.parts[0])
    parts = [" ".join(part.split()) for part in example.parts]
    return hashlib.sha256(canonical_json(parts)).digest()


def text_digest(text: str) -> bytes:
    """SHA-256 of a text whose runs of white space count as one space."""
    return hashlib.sha256(" ".join(text.split()).encode()).digest()


def split_limit(digests: Iterable[Digests], fraction: float) -> bytes | None:
    """Documents whose `document_digest` is below the limit are held out; None: no document is.

    A document's fate depends on its own digest alone, so it stays where it was when others come
    or go; copies stay together. Where that held out none (or all) of at least two different
    documents, the lowest digest is held out (or the highest is not).
    """
    limit = int(fraction * HASH_RANGE).to_bytes(8)
    lowest: list[bytes] = []
    highest = b""
    some_below = some_above = False
    for chunk in digests:
        if not len(chunk):
            continue
        ordered = np.unique(chunk)
        lowest = sorted({*lowest, *ordered[:2].tolist()})[:2]
        highest = max(highest, ordered[-1].item())
        some_below |= ordered[0].item() < limit
        some_above |= ordered[-1].item() >= limit
    if fraction <= 0 or len(lowest) < 2:
        return None
    if not some_below:
        return lowest[1]
    return limit if some_above else highest
