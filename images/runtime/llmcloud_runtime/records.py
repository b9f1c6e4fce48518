"""Examples on disk: shards of JSON lines (llmcloud/api/dataset_files.py), read through memory maps.

Memory holds one offset per example.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmcloud.cloud.errors import DigestMismatch
from llmcloud_runtime.order import GlobalOrder

Record = dict[str, Any]
NEWLINE = ord("\n")


class Examples:
    """The examples of several shards as one list."""

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        """`files`: (shard, its number of examples). ValueError if a file has another number."""
        self._maps = [np.memmap(path, mode="r") for path, count in files if count]
        self._lines = [_line_ends(shard) for shard in self._maps]
        self._ends = list(accumulate(len(lines) for lines in self._lines))
        if len(self) != sum(count for _, count in files):
            raise ValueError(f"The shards have {len(self)} lines, not one for every example.")

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def sizes(self) -> list[int]:
        """Examples of each shard that has any."""
        return [len(lines) for lines in self._lines]

    def __getitem__(self, index: int) -> Record:
        shard = bisect_right(self._ends, index)
        return self.at(shard, index - (self._ends[shard - 1] if shard else 0))

    def at(self, shard: int, number: int) -> Record:
        """One example. Raises DigestMismatch where the line is no JSON object."""
        lines = self._lines[shard]
        start = int(lines[number - 1]) + 1 if number else 0
        try:
            record = json.loads(self._maps[shard][start : int(lines[number])].tobytes())
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise DigestMismatch(
                f"Example {number} of shard {shard} is no JSON object; prepare the dataset anew."
            )
        return record

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))


class Mixture:
    """The examples of one or several datasets to learn from, each with its weight."""

    def __init__(self, datasets: Sequence[Examples], weights: Sequence[float]) -> None:
        """Each dataset has at least one example."""
        self.datasets, self._weights = datasets, weights

    def __len__(self) -> int:
        """Examples stored."""
        return sum(map(len, self.datasets))

    def __iter__(self) -> Iterator[Record]:
        """Each example once, dataset by dataset."""
        return chain.from_iterable(self.datasets)

    @property
    def epoch_examples(self) -> int:
        """Examples of one epoch: every dataset's as often as its weight says."""
        return len(self.order(0))

    def order(self, seed: int) -> GlobalOrder:
        """Which example is read when."""
        return GlobalOrder([dataset.sizes for dataset in self.datasets], self._weights, seed)


class ExampleReader:
    """A rank's part of the examples in the global order of a seed, by their places in it."""

    def __init__(self, mixture: Mixture, seed: int, rank: int, ranks: int) -> None:
        self._datasets = mixture.datasets
        self._rank, self._ranks = rank, ranks
        self._order = mixture.order(seed)

    def sequence(self, position: int) -> Record:
        """One example."""
        place = self._rank + self._ranks * position
        datasets, shards, numbers = self._order.places(np.array([place]))
        return self._datasets[int(datasets[0])].at(int(shards[0]), int(numbers[0]))

    def close(self) -> None:
        """Nothing is read ahead."""


def _line_ends(shard: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where the newlines are."""
    return np.flatnonzero(shard == NEWLINE)
