"""How many steps, and how a global batch is cut into what a device can hold.

Pure. The global batch is constant: a smaller device accumulates more, and the result differs
only by the order of floating-point sums.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BYTES_PER_LOGIT = 16
"""Logits, their float32 copy, its gradient and the softmax, 4 bytes each."""
CPU_LOGIT_BYTES = 256 * 2**20
"""On CPUs small micro-batches stay in the caches and cost nothing."""


@dataclass(frozen=True)
class Batches:
    """One optimizer step: `per_device` x `accumulation` x devices = global batch size."""

    per_device: int
    accumulation: int


def total_steps(
    max_steps: int | None, epochs: float | None, sequences: int, global_batch_size: int
) -> int:
    """Optimizer steps of the whole training: `max_steps`, else enough for `epochs`."""
    if max_steps is not None:
        return max_steps
    return max(1, math.ceil((epochs or 1.0) * sequences / global_batch_size))


def split_batch(global_batch_size: int, devices: int, most_sequences: int) -> Batches:
    """The largest micro-batch of at most `most_sequences` that divides the global batch.

    Raises ValueError if the devices do not divide it.
    """
    if global_batch_size % devices:
        raise ValueError(f"{devices} devices do not divide a global batch of {global_batch_size}.")
    share = global_batch_size // devices
    for accumulation in range(1, share + 1):
        if share % accumulation == 0 and share // accumulation <= most_sequences:
            return Batches(share // accumulation, accumulation)
    return Batches(1, share)


def sequences_in_memory(logit_bytes: int, sequence_length_tokens: int, vocabulary_size: int) -> int:
    """How many sequences a micro-batch may have for its logits to fit `logit_bytes`."""
    return max(1, logit_bytes // (BYTES_PER_LOGIT * sequence_length_tokens * vocabulary_size))


class DataOrder:
    """Which sequence comes when: position -> index, a pure function of the seed.

    Every epoch is a permutation of its own, so an attempt that starts at any step reads what an
    undisturbed one would have read, whatever the split into micro-batches.
    """

    def __init__(self, sequences: int, seed: int) -> None:
        self._sequences = sequences
        self._seed = seed
        self._epoch = -1
        self._permutation = np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, self._sequences)
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
            self._permutation = generator.permutation(self._sequences)
            self._epoch = epoch
        return int(self._permutation[offset])

    def first(self, count: int) -> Iterator[int]:
        """The indices of the first `count` positions."""
        return (self[position] for position in range(count))
