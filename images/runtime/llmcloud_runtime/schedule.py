"""How many steps, and how a global batch is cut into what a device can hold.

Pure. The global batch is constant: a smaller device accumulates more, and the result differs
only by the order of floating-point sums.
"""

import math
from dataclasses import dataclass

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
