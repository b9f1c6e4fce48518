"""Packed token shards on disk, read through memory maps.

A shard is little-endian uint32, `sequences` x `sequence_length_tokens` (contract.ShardEntry).
Nothing is copied until a sequence is asked for, so a dataset may be larger than memory.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint32]
BLOCK_TOKENS = 1 << 22


class TokenShards:
    """The sequences of several shards as one list."""

    def __init__(self, files: list[tuple[Path, int]], sequence_length_tokens: int) -> None:
        """`files`: (shard, its number of sequences). ValueError if a file has another size."""
        self.sequence_length_tokens = sequence_length_tokens
        self._maps = [
            open_shard(path, count, sequence_length_tokens) for path, count in files if count
        ]
        self._ends = list(accumulate(len(shard) for shard in self._maps))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Tokens:
        return self.sequence(index)

    def __iter__(self) -> Iterator[Tokens]:
        return (self.sequence(index) for index in range(len(self)))

    def sequence(self, index: int) -> Tokens:
        """Tokens of one sequence, shape (sequence_length_tokens,)."""
        shard = bisect_right(self._ends, index)
        start = self._ends[shard - 1] if shard else 0
        sequence: Tokens = self._maps[shard][index - start]
        return sequence

    def rows(self, start: int, end: int) -> Iterator[Tokens]:
        """The sequences start..end-1, in blocks of shape (n, sequence_length_tokens), at most
        `BLOCK_TOKENS` tokens each."""
        for shard, shard_end in zip(self._maps, self._ends, strict=True):
            first = shard_end - len(shard)
            yield from cut(shard[max(start - first, 0) : max(end - first, 0)])


def open_shard(path: Path, sequences: int, sequence_length_tokens: int) -> Tokens:
    """The tokens of a shard, shape (sequences, sequence_length_tokens).

    ValueError if the file has another size.
    """
    expected = sequences * sequence_length_tokens * 4
    if path.stat().st_size != expected:
        raise ValueError(f"Shard {path.name} has {path.stat().st_size} bytes, not {expected}.")
    return np.memmap(path, dtype="<u4", mode="r", shape=(sequences, sequence_length_tokens))


def cut(tokens: Tokens) -> Iterator[Tokens]:
    """Sequences, shape (n, length), in blocks of at most `BLOCK_TOKENS` tokens."""
    rows = max(1, BLOCK_TOKENS // tokens.shape[1])
    for start in range(0, len(tokens), rows):
        yield tokens[start : start + rows]
