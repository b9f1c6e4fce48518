"""Near duplicates: documents whose sets of five-word runs have a high Jaccard similarity.

Candidates come of MinHash with banding (A. Z. Broder, "On the resemblance and containment of
documents", 1997; J. Leskovec, A. Rajaraman and J. Ullman, "Mining of Massive Datasets", 3.4) and
each is verified by its true similarity, so that nothing is removed by an estimate. Similar
documents form groups, of each of which the first document stays.

Disk holds `HASHES` / rows x 8 bytes for each document, and 8 for its group. Memory holds one
pass of one band and at most `CACHED_DOCUMENTS` documents.
"""

import mmap
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from llmcloud_data.words import Hashes, mixed, run_hashes, simple_words, word_hashes

RUN_WORDS: Final = 5
HASHES: Final = 120
SURE: Final = 0.999
MARGIN: Final = 0.05
BLOCK_RUNS: Final = 4096
BUFFERED_DOCUMENTS: Final = 4096
CACHED_DOCUMENTS: Final = 16
COMPARED: Final = 8
"""A document is compared with at most so many others of its bucket."""
REMEMBERED_PAIRS: Final = 1_000_000
BLOCK_PARENTS: Final = 1 << 20
COPIED_BYTES: Final = 1024 * 1024

_random = np.random.Generator(np.random.PCG64(0))
_FACTORS: Final = _random.integers(0, 1 << 32, HASHES, dtype=np.uint32) | np.uint32(1)
_SUMMANDS: Final = _random.integers(0, 1 << 32, HASHES, dtype=np.uint32)


def shingles(text: str) -> Hashes:
    """The different five-word runs of a text as sorted hashes; case and punctuation are nothing."""
    return np.unique(run_hashes(word_hashes(simple_words(text)), RUN_WORDS))


def jaccard(one: Hashes, two: Hashes) -> float:
    """The similarity of two sets of `shingles`: shared over all, 0 for two empty ones."""
    shared = len(np.intersect1d(one, two, assume_unique=True))
    together = len(one) + len(two) - shared
    return shared / together if together else 0.0


def signature(runs: Hashes) -> np.ndarray:
    """The minima of `HASHES` random permutations, uint32."""
    low = (mixed(runs) >> np.uint64(32)).astype(np.uint32)
    minima = np.full(HASHES, 0xFFFFFFFF, dtype=np.uint32)
    for start in range(0, len(low), BLOCK_RUNS):
        block = low[start : start + BLOCK_RUNS, None] * _FACTORS + _SUMMANDS
        np.minimum(minima, block.min(axis=0), out=minima)
    return minima


def rows_of_band(similarity: float) -> int:
    """As many rows as still make a pair of `similarity` + `MARGIN` a candidate almost surely.

    Such a pair shares a band with probability 1 - (1 - s^rows)^bands.
    """
    wanted = min(1.0, similarity + MARGIN)
    sure = [
        rows
        for rows in range(1, 13)
        if 1 - (1 - wanted**rows) ** (HASHES // rows) >= SURE
    ]  # fmt: skip
    return max(sure)


def bands_of(similarity: float) -> int:
    """Into how many bands a signature is cut."""
    return HASHES // rows_of_band(similarity)


class BandWriter:
    """Hears of every document of a part once, in order; writes uint64, bands x documents."""

    def __init__(self, folder: Path, similarity: float) -> None:
        self._rows = rows_of_band(similarity)
        self._bands = bands_of(similarity)
        self._buffer: list[np.ndarray] = []
        self._stack = ExitStack()
        self._paths = [folder / f"band-{band:03d}" for band in range(self._bands)]
        self._files = [self._stack.enter_context(path.open("x+b")) for path in self._paths]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for path in self._paths:
            path.unlink()

    def add(self, text: str) -> None:
        rows = signature(shingles(text))[: self._bands * self._rows]
        self._buffer.append(_band_hashes(rows.reshape(self._bands, self._rows)))
        if len(self._buffer) >= BUFFERED_DOCUMENTS:
            self._flush()

    def finish(self, file: Path) -> None:
        """Write all bands into one file."""
        self._flush()
        with file.open("wb") as target:
            for band in self._files:
                band.seek(0)
                shutil.copyfileobj(band, target, COPIED_BYTES)

    def _flush(self) -> None:
        if self._buffer:
            for file, column in zip(self._files, np.stack(self._buffer, axis=1), strict=True):
                file.write(column.tobytes())
            self._buffer.clear()


def join_bands(
    files: Sequence[Path],
    counts: Sequence[int],
    states: NDArray[np.uint8],
    text_of: Callable[[int], str],
    similarity: float,
    passes: int,
    folder: Path,
) -> int:
    """Set the state of every later member of a group to 0; returns how many.

    `files` are the bands of each part and `counts` its documents. What has state 0 is none's
    near duplicate. Each pass takes a share of the hashes.
    """
    bands = bands_of(similarity)
    tables = [
        np.memmap(file, dtype=np.uint64, mode="r", shape=(bands, count)) if count else None
        for file, count in zip(files, counts, strict=True)
    ]
    with _Groups(len(states), text_of, similarity, folder / "groups") as groups:
        for band in range(bands):
            for number in range(passes):
                for bucket in _buckets(*_share(tables, counts, band, states, number, passes)):
                    groups.join(bucket)
        return groups.drop_later(states)


def _share(
    tables: Sequence[np.ndarray | None],
    counts: Sequence[int],
    band: int,
    states: NDArray[np.uint8],
    number: int,
    passes: int,
) -> tuple[Hashes, NDArray[np.int64]]:
    """The hashes of a band in this pass, and whose they are, in the order of the documents."""
    hashes, places, start = [], [], 0
    for table, count in zip(tables, counts, strict=True):
        if table is not None:
            mine = (table[band] % passes == number) & (states[start : start + count] != 0)
            here = np.flatnonzero(mine)
            hashes.append(table[band][here])
            places.append(start + here)
        start += count
    return np.concatenate(hashes), np.concatenate(places)


def _band_hashes(bands: np.ndarray) -> Hashes:
    hashes = np.zeros(len(bands), dtype=np.uint64)
    for column in bands.T:
        hashes = mixed(hashes * np.uint64(0x9E3779B97F4A7C15) + column)
    return hashes


def _buckets(hashes: Hashes, places: NDArray[np.int64]) -> Iterator[list[int]]:
    """Documents that share a hash, each bucket in ascending order."""
    if not len(hashes):
        return
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], len(order))
    for bucket in np.flatnonzero(ends - starts > 1):
        yield places[order[starts[bucket] : ends[bucket]]].tolist()


class _Groups:
    """Disjoint sets of documents, each known by its first; the parents lie in a file."""

    def __init__(
        self, count: int, text_of: Callable[[int], str], similarity: float, file: Path
    ) -> None:
        self._similarity = similarity
        self._different: set[tuple[int, int]] = set()
        self._shingles = lru_cache(CACHED_DOCUMENTS)(lambda number: shingles(text_of(number)))
        with file.open("w+b") as stream:
            for start in range(0, count, BLOCK_PARENTS):
                np.arange(start, min(count, start + BLOCK_PARENTS), dtype="<i8").tofile(stream)
            stream.flush()
            self._map = mmap.mmap(stream.fileno(), 0)
        self._parents = memoryview(self._map).cast("q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._parents.release()
        self._map.close()

    def join(self, bucket: list[int]) -> None:
        recent: deque[int] = deque(maxlen=COMPARED)
        for document in bucket:
            for other in recent:
                if self._similar(other, document):
                    first, second = sorted((self._first(other), self._first(document)))
                    self._parents[second] = first
                    break
            recent.appendleft(document)

    def drop_later(self, states: NDArray[np.uint8]) -> int:
        dropped = 0
        for start in range(0, len(states), BLOCK_PARENTS):
            end = min(len(states), start + BLOCK_PARENTS)
            parents = np.frombuffer(self._map, dtype="<i8", count=end - start, offset=8 * start)
            later = parents != np.arange(start, end)
            states[start:end][later] = 0
            dropped += int(later.sum())
            del parents
        return dropped

    def _first(self, document: int) -> int:
        while (parent := self._parents[document]) != document:
            self._parents[document] = self._parents[parent]
            document = parent
        return document

    def _similar(self, one: int, two: int) -> bool:
        if self._first(one) == self._first(two):
            return True
        if (one, two) in self._different:
            return False
        similarity = jaccard(self._shingles(one), self._shingles(two))
        if similarity >= self._similarity:
            return True
        if len(self._different) >= REMEMBERED_PAIRS:
            self._different.clear()
        self._different.add((one, two))
        return False
