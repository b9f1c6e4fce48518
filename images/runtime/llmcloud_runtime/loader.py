"""The loader: streams packed token shards from a store in the order of training.

It reads ahead in the background, holds bounded memory and disk, and begins at any position
without reading what came before. `order` decides what is read when, `shard_cache` brings it.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from llmcloud.api.contract import ShardEntry
from llmcloud.cloud.base import Store
from llmcloud.cloud.parallel import in_parallel
from llmcloud_runtime.order import WINDOW_SHARDS, GlobalOrder, Integers
from llmcloud_runtime.shard_cache import FETCHES, ShardCache, StoredShard
from llmcloud_runtime.shards import Tokens, cut

CACHE_BYTES = 1 << 30
BLOCK_TOKENS = 1 << 20
BLOCKS_AHEAD = 64
"""So far ahead is looked for shards to fetch, as long as they fit the disk: a whole window of
shards of 16 MiB."""
GATHERERS = 2
"""Threads that copy tokens; up to twice as many blocks wait in memory."""


@dataclass(frozen=True)
class StoredDataset:
    """The training split of a dataset's version: shards below `folder` of a store."""

    store: Store
    folder: str
    shards: Sequence[ShardEntry]
    sequence_length_tokens: int
    weight: float = 1.0


@dataclass(frozen=True)
class _Block:
    """Sequences that are read together: which shard has each, and its number there."""

    shards: Integers
    rows: Integers
    files: dict[int, Future[Tokens]]

    def gathered(self) -> tuple[list[int], Tokens]:
        """The shards read, and the tokens: shape (n, sequence_length_tokens)."""
        parts = [(number, future.result()) for number, future in self.files.items()]
        tokens = np.empty((len(self.rows), parts[0][1].shape[1]), dtype=np.uint32)
        for number, shard in parts:
            mine = np.flatnonzero(self.shards == number)
            tokens[mine] = shard[self.rows[mine]]
        return list(self.files), tokens


class Loader:
    """The training splits of one or several datasets, read in the global order of `seed`.

    Used by one thread, and for one stream at a time; fetching and copying are other threads'.
    `folder` gets the shards: of at most `cache_bytes`, or two windows where that is more.
    """

    def __init__(
        self,
        datasets: Sequence[StoredDataset],
        seed: int,
        folder: Path,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """ValueError if a dataset has no sequence, or another sequence length than the first."""
        lengths = {dataset.sequence_length_tokens for dataset in datasets}
        if len(lengths) != 1:
            raise ValueError(f"The datasets have sequences of {sorted(lengths)} tokens.")
        (self.sequence_length_tokens,) = lengths
        self._order = GlobalOrder(
            [[entry.sequences for entry in dataset.shards] for dataset in datasets],
            [dataset.weight for dataset in datasets],
            seed,
        )
        self._first_shard = np.cumsum([0, *(len(dataset.shards) for dataset in datasets)])
        self._shards = [
            StoredShard(
                dataset.store,
                dataset.folder,
                entry,
                dataset.sequence_length_tokens,
                folder / str(number),
            )
            for number, dataset in enumerate(datasets)
            for entry in dataset.shards
        ]
        self._cache = ShardCache(self._shards, cache_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cache.close()

    def __len__(self) -> int:
        """Sequences stored, those of `rows`."""
        return sum(shard.entry.sequences for shard in self._shards)

    @property
    def epoch_sequences(self) -> int:
        """Sequences of one epoch: every dataset's as often as its weight says."""
        return len(self._order)

    def stream(
        self, start: int, end: int, rank: int = 0, ranks: int = 1
    ) -> Generator[Tokens, None, None]:
        """The sequences at the positions of start..end-1 that are `rank` modulo `ranks`.

        Blocks of shape (n, sequence_length_tokens), n >= 1. Raises DigestMismatch, StoreError.
        """
        blocks = in_parallel(_Block.gathered, self._held(start, end, rank, ranks), GATHERERS)
        try:
            with closing(blocks):
                for shards, tokens in blocks:
                    self._cache.release(shards)
                    yield tokens
        finally:
            self._cache.release_all()

    def rows(self, start: int, end: int) -> Iterator[Tokens]:
        """The sequences start..end-1 in the order in which they are stored, dataset by dataset.

        Blocks of shape (n, sequence_length_tokens). Raises DigestMismatch, StoreError.
        """
        ends = list(accumulate(shard.entry.sequences for shard in self._shards))

        def held() -> Iterator[tuple[int, Future[Tokens]]]:
            for number, shard in enumerate(self._shards):
                if start < ends[number] and end > ends[number] - shard.entry.sequences:
                    files = self._cache.hold([number], required=True)
                    assert files is not None
                    yield number, files[number]

        opened = in_parallel(lambda item: (item[0], item[1].result()), held(), FETCHES)
        try:
            with closing(opened):
                for number, tokens in opened:
                    first = ends[number] - len(tokens)
                    yield from cut(tokens[max(start - first, 0) : end - first])
                    self._cache.release([number])
        finally:
            self._cache.release_all()

    def _held(self, start: int, end: int, rank: int, ranks: int) -> Iterator[_Block]:
        """The blocks of a stream; the shards of further ones are being fetched."""
        ahead: deque[_Block] = deque()
        for shards, rows in self._places(start, end, rank, ranks):
            numbers = np.unique(shards).tolist()
            while len(ahead) == BLOCKS_AHEAD or (
                (files := self._cache.hold(numbers, required=not ahead)) is None
            ):
                yield ahead.popleft()
            ahead.append(_Block(shards, rows, files))
        yield from ahead

    def _places(
        self, start: int, end: int, rank: int, ranks: int
    ) -> Iterator[tuple[Integers, Integers]]:
        """Shard and number of the sequences of each block: so few that all blocks in memory
        together need the shards of two windows at most."""
        window = self.epoch_sequences * WINDOW_SHARDS // max(WINDOW_SHARDS, len(self._shards))
        most = window // (4 * GATHERERS * ranks)
        rows = max(1, min(BLOCK_TOKENS // self.sequence_length_tokens, most))
        first = start + (rank - start) % ranks
        for begin in range(first, end, rows * ranks):
            positions = np.arange(begin, min(end, begin + rows * ranks), ranks, dtype=np.int64)
            datasets, shards, numbers = self._order.places(positions)
            yield self._first_shard[datasets] + shards, numbers


class Reader:
    """A rank's part of a loader's sequences by their places in it: reading on is quick, jumping
    begins anew."""

    def __init__(self, loader: Loader, end: int, rank: int = 0, ranks: int = 1) -> None:
        self._loader = loader
        self._end = end
        self._rank, self._ranks = rank, ranks
        self._next = -1
        self._sequences: Generator[Tokens, None, None] | None = None

    def sequence(self, position: int) -> Tokens:
        """Tokens of one sequence, shape (sequence_length_tokens,)."""
        if self._sequences is None or position != self._next:
            self.close()
            self._sequences = self._from(position)
        self._next = position + 1
        return next(self._sequences)

    def close(self) -> None:
        """Nothing more is read ahead."""
        if self._sequences is not None:
            self._sequences.close()
        self._sequences = None

    def _from(self, position: int) -> Generator[Tokens, None, None]:
        with closing(
            self._loader.stream(position * self._ranks, self._end, self._rank, self._ranks)
        ) as blocks:
            for tokens in blocks:
                yield from tokens
