"""Shards of a store on local disk: fetched in the background, verified, the disk bounded.

No token of a shard is seen before the SHA-256 of the whole shard is the manifest's.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from llmcloud.api.contract import ShardEntry
from llmcloud.cloud.base import Store
from llmcloud.cloud.manifest import download
from llmcloud_runtime.shards import Tokens, open_shard

FETCHES = 4
"""Shards fetched at once."""


@dataclass(frozen=True)
class StoredShard:
    """A shard in a store, `folder` being its version's, and the folder that gets its file."""

    store: Store
    folder: str
    entry: ShardEntry
    sequence_length_tokens: int
    destination: Path

    def fetch(self) -> Tokens:
        """The shard as it lies on disk, if it has the right digest, else as it is fetched.

        Raises DigestMismatch, StoreError.
        """
        download(self.store, self.folder, [self.entry], self.destination)
        return open_shard(self.file, self.entry.sequences, self.sequence_length_tokens)

    @property
    def file(self) -> Path:
        return self.destination / self.entry.key


class ShardCache:
    """Shards by their numbers. Used by one thread; what it hands out may be waited for in others.

    Disk holds `budget_bytes`, or what is held, where that is more. What is not held stays as long
    as it fits, the last released the longest.
    """

    def __init__(self, shards: Sequence[StoredShard], budget_bytes: int) -> None:
        self._shards = shards
        self._budget_bytes = budget_bytes
        self._executor = ThreadPoolExecutor(FETCHES, thread_name_prefix="shards")
        self._fetched: dict[int, Future[Tokens]] = {}
        self._holds: Counter[int] = Counter()

    def hold(self, numbers: Collection[int], *, required: bool) -> dict[int, Future[Tokens]] | None:
        """Fetch what is absent and keep all `numbers` until they are released as often.

        None, and nothing is held, if they do not fit and are not `required`. What could not be
        fetched before is fetched again.
        """
        absent = [number for number in numbers if not self._usable(number)]
        kept = {*self._holds, *numbers}
        there = kept & self._fetched.keys() - {*absent}
        kept_bytes = sum(map(self._bytes, there))
        wanted_bytes = sum(map(self._bytes, absent))
        if kept_bytes + wanted_bytes > self._budget_bytes and not required:
            return None
        self._make_room(wanted_bytes, kept)
        for number in absent:
            self._fetched[number] = self._executor.submit(self._shards[number].fetch)
        self._holds.update(numbers)
        return {number: self._fetched[number] for number in numbers}

    def release(self, numbers: Collection[int]) -> None:
        for number in numbers:
            self._holds[number] -= 1
            if not self._holds[number]:
                del self._holds[number]
                self._fetched[number] = self._fetched.pop(number)  # to the end: the last to go

    def release_all(self) -> None:
        self._holds.clear()

    def close(self) -> None:
        """Nothing more is fetched; the files stay."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _make_room(self, wanted_bytes: int, kept: Collection[int]) -> None:
        held_bytes = sum(map(self._bytes, self._fetched))
        for number in [number for number in self._fetched if number not in kept]:
            if held_bytes + wanted_bytes <= self._budget_bytes:
                return
            fetching = self._fetched.pop(number)
            if not fetching.cancel():
                wait([fetching])
            self._shards[number].file.unlink(missing_ok=True)
            held_bytes -= self._bytes(number)

    def _usable(self, number: int) -> bool:
        """Whether a shard is there, or on its way."""
        fetched = self._fetched.get(number)
        return fetched is not None and (not fetched.done() or fetched.exception() is None)

    def _bytes(self, number: int) -> int:
        return self._shards[number].entry.bytes
