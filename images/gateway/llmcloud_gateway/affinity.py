"""Which replica has a prompt's beginning in its cache: consistent hashing with bounded loads.

A prompt is cut into blocks; each block's hash covers all blocks before it. The replica that last
served the longest known beginning is the best choice. A beginning that is not known goes to its
place on a ring of hashes, the same in every gateway, and from there on to the first replica whose
load is below the bound: (1 + epsilon) times the average, rounded up, as in Mirrokni, Thorup and
Zadimoghaddam, "Consistent Hashing with Bounded Loads" (SODA 2018, arXiv:1608.01350).
"""

from bisect import bisect
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import blake2b
from zlib import crc32

BLOCK_BYTES = 1024
MOST_BLOCKS = 64
"""A prompt's first 64 kB decide; images beyond are not hashed."""
EPSILON = 0.25
_POINTS = 64
"""Of each replica on the ring."""
_REMEMBERED = 1 << 16
_BEGINNINGS = (b'"messages"', b'"prompt"')


def prompt_blocks(model: str, body: bytes) -> list[int]:
    """Hashes of the prompt's whole blocks, as it stands in the body; none if it is short.

    A conversation's next turn only adds to the end of what its client sent before.
    """
    start = next((at for name in _BEGINNINGS if (at := body.find(name)) >= 0), -1)
    if start < 0 or len(body) - start < BLOCK_BYTES:
        return []
    end = min(len(body), start + BLOCK_BYTES * MOST_BLOCKS) - BLOCK_BYTES
    value = crc32(model.encode())
    view = memoryview(body)
    blocks = []
    for at in range(start, end + 1, BLOCK_BYTES):
        value = crc32(view[at : at + BLOCK_BYTES], value)
        blocks.append(value)
    return blocks


def bound(in_flight: int, replicas: int) -> int:
    """The most requests on one replica when one more comes, by the paper's (1 + epsilon)."""
    return -int(-(1 + EPSILON) * (in_flight + 1) // replicas)


class Affinity:
    """The ring of one route's replicas, by endpoint, and what they have served."""

    def __init__(self) -> None:
        self._ring: list[int] = []
        self._endpoints: list[str] = []
        self._served: dict[int, str] = {}

    @classmethod
    def of(cls, memories: Iterable["Affinity"], endpoints: Collection[str]) -> "Affinity":
        """What others remember of these replicas."""
        affinity = cls()
        for memory in memories:
            kept = {b: one for b, one in memory._served.items() if one in endpoints}
            affinity._served.update(kept)
        return affinity

    def known(self, blocks: Sequence[int]) -> int:
        """How many of the blocks a replica has in its cache."""
        served = self._served
        return next((n for n in range(len(blocks), 0, -1) if blocks[n - 1] in served), 0)

    def place(self, endpoints: Iterable[str]) -> None:
        """These are the replicas from now on. Few beginnings move when one comes or goes."""
        points = sorted(
            (int.from_bytes(blake2b(f"{one} {n}".encode(), digest_size=4).digest()), one)
            for one in endpoints
            for n in range(_POINTS)
        )
        self._ring = [point for point, _ in points]
        self._endpoints = [endpoint for _, endpoint in points]

    def candidates(self, blocks: Sequence[int]) -> Iterator[str]:
        """Endpoints in the order of preference; one may come twice, or be gone."""
        for block in reversed(blocks):
            endpoint = self._served.get(block)
            if endpoint is not None:
                yield endpoint
                break
        first = bisect(self._ring, blocks[0])
        seen: set[str] = set()
        for n in range(len(self._ring)):
            endpoint = self._endpoints[(first + n) % len(self._ring)]
            if endpoint not in seen:
                seen.add(endpoint)
                yield endpoint

    def served(self, blocks: Sequence[int], endpoint: str) -> None:
        """The replica has these blocks in its cache now."""
        served = self._served
        for block in blocks:
            served.pop(block, None)
            served[block] = endpoint
        while len(served) > _REMEMBERED:
            del served[next(iter(served))]
