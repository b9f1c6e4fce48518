"""Reading a part: its documents cleaned and redacted, with what copies are found by.

A part on disk is three files, of which only what is written here is read back:

texts      the documents as `Example.encoded` gives them, one after another, zstd
table      one `DOCUMENT` for each: its digest, the end of its text, what was redacted in it
bands      uint64, bands x documents (`near_duplicates`), where near duplicates are sought

Texts are redacted here, before anything leaves the worker, so the store never holds personal
data that is to go. A document's digest is that of its text before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmcloud.api.dataset import DatasetType, Entity, Prepare
from llmcloud_data.cleaning import normalised, unfit
from llmcloud_data.documents import (
    DIGEST,
    Document,
    Rejections,
    document_digest,
    read_documents,
)
from llmcloud_data.examples import Example, Shape, decoded
from llmcloud_data.near_duplicates import BandWriter
from llmcloud_data.redaction import redacted
from llmcloud_data.rejections import Rejection
from llmcloud_data.sources import SourceFile

TEXTS: Final = "texts"
TABLE: Final = "table"
BANDS: Final = "bands"
ENTITIES: Final[tuple[Entity, ...]] = get_args(Entity)
DOCUMENT: Final = np.dtype(
    [("digest", DIGEST), ("end", "<u8"), ("redacted", "<u4", (len(ENTITIES),))]
)
CODEC: Final = "zstd"
READ_BYTES: Final = 1024 * 1024
CHUNK_DOCUMENTS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class PartCounts:
    """Documents written, and left out by reason."""

    documents: int
    rejected: dict[str, int]


def read_part(
    files: Iterable[SourceFile], shape: Shape, steps: Prepare, folder: Path
) -> PartCounts:
    """Write the part's files into the new `folder`; removes each of `files` when it is read."""
    folder.mkdir(parents=True)
    near = steps.deduplicate.near if steps.deduplicate is not None else None
    rejections = Rejections()
    documents = read_documents(_removed(files), shape, rejections)
    with ExitStack() as stack:
        bands = None
        if near is not None:
            bands = stack.enter_context(BandWriter(folder, near.similarity_percent / 100))
        texts = stack.enter_context(
            pa.CompressedOutputStream(pa.OSFile(str(folder / TEXTS), "wb"), CODEC)
        )
        table = stack.enter_context((folder / TABLE).open("wb"))
        count = end = 0
        for example in _fit(documents, steps, rejections):
            kept, found = _redacted(example, steps)
            body = kept.encoded().encode()
            texts.write(body)
            end += len(body)
            count += 1
            row = np.array([(document_digest(example), end, found)], dtype=DOCUMENT)
            table.write(row.tobytes())
            if bands is not None:
                bands.add(kept.text)
        if bands is not None:
            bands.finish(folder / BANDS)
    return PartCounts(count, rejections.counts())


def table_of(folder: Path) -> NDArray[np.void]:
    """The part's table, mapped: memory holds what is looked at."""
    file = folder / TABLE
    if not file.stat().st_size:
        return np.zeros(0, dtype=DOCUMENT)
    return np.memmap(file, dtype=DOCUMENT, mode="r")


def numbers(values: NDArray[Any]) -> Iterator[int]:
    """A column of a table one by one, few of them in memory."""
    for start in range(0, len(values), CHUNK_DOCUMENTS):
        yield from values[start : start + CHUNK_DOCUMENTS].tolist()


def read_texts(folder: Path) -> Iterator[str]:
    """The texts of a part in order, one in memory."""
    start = 0
    with pa.CompressedInputStream(pa.OSFile(str(folder / TEXTS)), CODEC) as stream:
        for end in numbers(table_of(folder)["end"]):
            yield stream.read(end - start).decode()
            start = end


class Texts:
    """What a part's documents are compared by, by number; disk holds them uncompressed."""

    def __init__(self, folder: Path) -> None:
        self._ends = table_of(folder)["end"]
        self._file = folder / "plain"
        with (
            pa.CompressedInputStream(pa.OSFile(str(folder / TEXTS)), CODEC) as stream,
            self._file.open("wb") as file,
        ):
            while chunk := stream.read(READ_BYTES):
                file.write(chunk)
        (folder / TEXTS).unlink()

    def text(self, type_: DatasetType, number: int) -> str:
        start = int(self._ends[number - 1]) if number else 0
        with self._file.open("rb") as stream:
            stream.seek(start)
            line = stream.read(int(self._ends[number]) - start).decode()
        return decoded(type_, line).text


def _fit(
    documents: Iterable[Document], steps: Prepare, rejections: Rejections
) -> Iterator[Example]:
    """The documents that cleaning leaves, each in its normal form."""
    for document in documents:
        if steps.clean is None:
            yield document.example
            continue
        example = document.example.mapped(normalised)
        reason = (
            Rejection.EMPTY if example.blank else unfit(example.text, document.format, steps.clean)
        )
        if reason is None:
            yield example
        else:
            rejections.add(reason, document.id)


def _redacted(example: Example, steps: Prepare) -> tuple[Example, tuple[int, ...]]:
    """The example with placeholders, and how many of each of `ENTITIES`."""
    if steps.redact is None:
        return example, (0,) * len(ENTITIES)
    counts: Counter[str] = Counter()
    entities = steps.redact.entities
    kept = example.mapped(lambda part: redacted(part, entities, counts))
    return kept, tuple(counts[entity] for entity in ENTITIES)


def _removed(files: Iterable[SourceFile]) -> Iterator[SourceFile]:
    for source in files:
        yield source
        source.file.unlink()
