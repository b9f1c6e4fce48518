"""Shards: token sequences of one length, packed without gaps, or lines of examples.

Documents of type text follow one another in one stream, which is cut into sequences. Same
documents, same bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmcloud.api.dataset_files import SHARD_BYTES

TOKEN: Final = np.dtype("<u4")
REST: Final = "rest.bin"


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of whole sequences, or of whole lines."""

    file: Path
    sequences: int = 0
    examples: int = 0


@dataclass(slots=True)
class _Buffer:
    """Token ids waiting to fill a sequence or a shard."""

    parts: list[NDArray[np.uint32]] = field(default_factory=list)
    tokens: int = 0

    def add(self, ids: list[int]) -> None:
        self.parts.append(np.array(ids, dtype=TOKEN))
        self.tokens += len(ids)

    def take(self, tokens: int) -> NDArray[np.uint32]:
        joined = np.concatenate([np.empty(0, TOKEN), *self.parts])
        self.parts = [joined[tokens:]]
        self.tokens -= tokens
        return joined[:tokens]


def pack(
    stream: Iterable[list[int]],
    folder: Path,
    sequence_length_tokens: int,
    shard_bytes: int = SHARD_BYTES,
) -> Iterator[Shard]:
    """Write `00000.bin`, `00001.bin`, ... of little-endian uint32 below `folder`, each as it fills,
    and the rest, less than one sequence, to `REST`.

    `stream` holds the token ids of all documents, in pieces. A shard has at least one sequence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sequence_bytes = sequence_length_tokens * TOKEN.itemsize
    shard_tokens = max(1, shard_bytes // sequence_bytes) * sequence_length_tokens
    buffer = _Buffer()
    number = 0

    def write(tokens: int) -> Shard:
        nonlocal number
        shard = Shard(folder / f"{number:05d}.bin", tokens // sequence_length_tokens)
        buffer.take(tokens).tofile(shard.file)
        number += 1
        return shard

    for ids in stream:
        buffer.add(ids)
        while buffer.tokens >= shard_tokens:
            yield write(shard_tokens)
    if rest := buffer.tokens - buffer.tokens % sequence_length_tokens:
        yield write(rest)
    buffer.take(buffer.tokens).tofile(folder / REST)


def write_lines(
    lines: Iterable[str], folder: Path, shard_bytes: int = SHARD_BYTES
) -> Iterator[Shard]:
    """Write `00000.jsonl`, `00001.jsonl`, ... below `folder`, each as it fills."""
    folder.mkdir(parents=True, exist_ok=True)
    held: list[bytes] = []
    number = held_bytes = 0

    def write() -> Shard:
        nonlocal number, held_bytes
        shard = Shard(folder / f"{number:05d}.jsonl", examples=len(held))
        shard.file.write_bytes(b"".join(held))
        number, held_bytes = number + 1, 0
        held.clear()
        return shard

    for line in lines:
        encoded = line.encode() + b"\n"
        if held and held_bytes + len(encoded) > shard_bytes:
            yield write()
        held.append(encoded)
        held_bytes += len(encoded)
    if held:
        yield write()
