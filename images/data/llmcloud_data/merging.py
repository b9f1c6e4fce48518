"""Merging: what becomes of every document of all parts, decided in one place.

The only step that looks at all documents at once. Its arrays lie in files, and what is sorted
is sorted in passes of `PASS_DOCUMENTS`, so memory is bounded whatever the corpus' size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmcloud.api.dataset import Prepare
from llmcloud_data.documents import DIGEST, Digests, split_limit
from llmcloud_data.near_duplicates import join_bands
from llmcloud_data.reading import BANDS, CHUNK_DOCUMENTS, DOCUMENT, TABLE, table_of

GONE: Final = 0
TRAIN: Final = 1
VALIDATION: Final = 2
STATES: Final = "states"
"""File of one byte for each document of all parts in order."""
PASS_DOCUMENTS: Final = 2_000_000
"""About 100 MB of digests and places."""

States = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """Documents left out because of others, and those that are kept, on each side."""

    duplicates: int
    near_duplicates: int
    train: int
    validation: int


def merge(
    parts: Sequence[Path],
    steps: Prepare,
    text_of: Callable[[int, int], str],
    folder: Path,
    pass_documents: int = PASS_DOCUMENTS,
) -> MergeCounts:
    """Write `STATES` into `folder`. `text_of` gives a text by its part and its place in that."""
    counts = [(part / TABLE).stat().st_size // DOCUMENT.itemsize for part in parts]
    total = sum(counts)
    if not total:
        (folder / STATES).write_bytes(b"")
        return MergeCounts(0, 0, 0, 0)
    digests = _digests(parts, folder / "digests", total)
    states: States = np.memmap(folder / STATES, dtype=np.uint8, mode="w+", shape=(total,))
    states[:] = TRAIN
    passes = -(-total // pass_documents)
    deduplicate = steps.deduplicate
    duplicates = near_duplicates = 0
    if deduplicate is not None and deduplicate.exact:
        duplicates = drop_copies(digests, states, passes)
    if deduplicate is not None and deduplicate.near is not None:
        starts = [0, *accumulate(counts)]

        def text(number: int) -> str:
            part = int(np.searchsorted(starts, number, side="right")) - 1
            return text_of(part, number - starts[part])

        similarity = deduplicate.near.similarity_percent / 100
        bands = [part / BANDS for part in parts]
        near_duplicates = join_bands(bands, counts, states, text, similarity, passes, folder)
    hold_out(digests, states, steps.split.validation_fraction)
    validation = int((states == VALIDATION).sum())
    train = total - duplicates - near_duplicates - validation
    return MergeCounts(duplicates, near_duplicates, train, validation)


def drop_copies(digests: Digests, states: States, passes: int) -> int:
    """Mark documents that have the digest of an earlier one; how many."""
    dropped = 0
    for number in range(passes):
        mine = np.concatenate(
            [
                start + np.flatnonzero(chunk.view("<u8").reshape(-1, 4)[:, 3] % passes == number)
                for start, chunk in _chunks(digests)
            ]
        )
        copies = np.ones(len(mine), dtype=np.bool_)
        copies[np.unique(digests[mine], return_index=True)[1]] = False
        states[mine[copies]] = GONE
        dropped += int(copies.sum())
    return dropped


def hold_out(digests: Digests, states: States, fraction: float) -> None:
    """Move documents that are kept to `VALIDATION`, as `split_limit` says."""
    kept = (chunk[states[start : start + len(chunk)] != GONE] for start, chunk in _chunks(digests))
    limit = split_limit(kept, fraction)
    if limit is None:
        return
    for start, chunk in _chunks(digests):
        part = states[start : start + len(chunk)]
        part[(part != GONE) & (chunk < limit)] = VALIDATION


def _digests(parts: Sequence[Path], file: Path, total: int) -> Digests:
    with file.open("wb") as stream:
        for part in parts:
            column = table_of(part)["digest"]
            for start in range(0, len(column), CHUNK_DOCUMENTS):
                chunk = column[start : start + CHUNK_DOCUMENTS]
                stream.write(np.ascontiguousarray(chunk).tobytes())
    return np.memmap(file, dtype=DIGEST, mode="r", shape=(total,))


def _chunks(digests: Digests, length: int = 1 << 20) -> Iterator[tuple[int, Digests]]:
    for start in range(0, len(digests), length):
        yield start, digests[start : start + length]
