"""Near duplicates: documents whose sets of five-word runs have a high Jaccard similarity.

Candidates come of MinHash with banding (A. Z. Broder, "On the resemblance and containment of
documents", 1997; J. Leskovec, A. Rajaraman and J. Ullman, "Mining of Massive Datasets", 3.4) and
each is verified by its true similarity, so that nothing is removed by an estimate. Similar
documents form groups, of each of which the first document stays.

Disk holds `HASHES` / rows x 8 bytes for each document; memory holds 24 bytes for each, at the
time of one band, and at most `CACHED_DOCUMENTS` documents.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

import numpy as np

from llmcloud_data.documents import Mask
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


class NearDuplicates:
    """Hears of every document once, in order, then says which are to go."""

    def __init__(self, folder: Path, similarity: float) -> None:
        self._similarity = similarity
        self._rows = rows_of_band(similarity)
        self._bands = HASHES // self._rows
        self._folder = folder
        self._buffer: list[np.ndarray] = []
        self._stack = ExitStack()
        self._files = [
            self._stack.enter_context((folder / f"band-{band:03d}").open("x+b"))
            for band in range(self._bands)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for band in range(self._bands):
            (self._folder / f"band-{band:03d}").unlink()

    def add(self, text: str) -> None:
        rows = signature(shingles(text))[: self._bands * self._rows]
        self._buffer.append(_band_hashes(rows.reshape(self._bands, self._rows)))
        if len(self._buffer) >= BUFFERED_DOCUMENTS:
            self._flush()

    def duplicates(self, text_of: Callable[[int], str], excluded: Mask) -> Mask:
        """Which documents go, of those that are not `excluded`; an excluded one is none's.

        `text_of` gives the text of a document by its number.
        """
        self._flush()
        groups = _Groups(len(excluded), text_of, self._similarity)
        for file in self._files:
            file.seek(0)
            hashes = np.fromfile(file, dtype=np.uint64)
            for bucket in _buckets(hashes, excluded):
                groups.join(bucket)
        return groups.not_first()

    def _flush(self) -> None:
        if self._buffer:
            for file, column in zip(self._files, np.stack(self._buffer, axis=1), strict=True):
                file.write(column.tobytes())
            self._buffer.clear()


def _band_hashes(bands: np.ndarray) -> Hashes:
    hashes = np.zeros(len(bands), dtype=np.uint64)
    for column in bands.T:
        hashes = mixed(hashes * np.uint64(0x9E3779B97F4A7C15) + column)
    return hashes


def _buckets(hashes: Hashes, excluded: Mask) -> Iterator[list[int]]:
    """Documents that share a hash, each bucket in ascending order."""
    order = np.argsort(hashes, kind="stable")
    order = order[~excluded[order]]
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], len(order))
    for bucket in np.flatnonzero(ends - starts > 1):
        yield order[starts[bucket] : ends[bucket]].tolist()


class _Groups:
    """Disjoint sets of documents, each known by its first."""

    def __init__(self, count: int, text_of: Callable[[int], str], similarity: float) -> None:
        self._similarity = similarity
        self._parents = array("q", range(count))
        self._different: set[tuple[int, int]] = set()
        self._shingles = lru_cache(CACHED_DOCUMENTS)(lambda number: shingles(text_of(number)))

    def join(self, bucket: list[int]) -> None:
        recent: deque[int] = deque(maxlen=COMPARED)
        for document in bucket:
            for other in recent:
                if self._similar(other, document):
                    first, second = sorted((self._first(other), self._first(document)))
                    self._parents[second] = first
                    break
            recent.appendleft(document)

    def not_first(self) -> Mask:
        numbers = np.arange(len(self._parents))
        later: Mask = np.array(self._parents, dtype=np.int64) != numbers
        return later

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
