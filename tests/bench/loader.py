"""The trainer's loader on real servers: how long a training step waits for its tokens.

Servers, loader and consumer share this machine's cores. The same loader on local files is one
whose scratch folder holds the shards already: it verifies the same digests and copies the same
tokens.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llmcloud.api.contract import ProvisionTask, ShardEntry
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.manifest import sha256_of
from llmcloud.cloud.provision import provision
from llmcloud_runtime.loader import Loader, StoredDataset
from llmcloud_runtime.shards import Tokens
from tests.contract.servers import STARTERS
from tests.support.figures import figure

LENGTH = 2048
SHARD_SEQUENCES = 2048
SHARDS = 16
STEP_SEQUENCES = 64
TOKENS_PER_SECOND = 2_000_000
FOLDER = "versions/1/"


def measure_loader() -> None:
    for name in ("versitygw", "fake-gcs-server", "azurite"):
        with (
            tempfile.TemporaryDirectory() as folder,
            STARTERS[name](Path(folder) / "server") as server,
        ):
            location = server.location("bench")
            assert provision(ProvisionTask(store=location, create=True, owner_uid="uid")).succeeded
            measure(name, write(open_store(location), Path(folder)), Path(folder))


def write(store: Store, folder: Path) -> StoredDataset:
    """A dataset of `SHARDS` shards of 16 MiB of random tokens."""
    random = np.random.Generator(np.random.PCG64(0))
    entries = []
    for number in range(SHARDS):
        file = folder / f"{number:05d}.bin"
        random.integers(0, 32000, (SHARD_SEQUENCES, LENGTH), dtype=np.uint32).tofile(file)
        store.put(FOLDER + file.name, file)
        entry = ShardEntry(
            key=file.name,
            bytes=file.stat().st_size,
            sha256=sha256_of(file),
            sequences=SHARD_SEQUENCES,
        )
        file.unlink()
        entries.append(entry)
    return StoredDataset(store, FOLDER, entries, LENGTH)


def measure(name: str, dataset: StoredDataset, folder: Path) -> None:
    total_bytes = SHARDS * SHARD_SEQUENCES * LENGTH * 4
    scratch = folder / "scratch"
    with Loader([dataset], 1, scratch) as loader:
        first, seconds = drain(loader, 0)
    figure(f"loader, {name}: time to first batch of a window of 256 MiB", first, "s")
    with Loader([dataset], 1, scratch) as loader:
        _, local_seconds = drain(loader, 0)
    local = ("local files", total_bytes / 1e6 / local_seconds)
    figure(f"loader, {name}", total_bytes / 1e6 / seconds, "MB/s", anchor=local)
    shutil.rmtree(scratch)

    with Loader([dataset], 1, scratch) as loader:
        waited = wait_share(loader.stream(0, len(loader)))
    figure(f"loader, {name}: step loop waits at 2 M tokens/s", waited, "share", 0.01)
    shutil.rmtree(scratch)

    with Loader([dataset], 1, scratch, cache_bytes=total_bytes) as loader:
        for _ in loader.stream(len(loader) // 2, len(loader), 0, 2):
            pass
    fetched = sum(file.stat().st_size for file in scratch.rglob("*.bin"))
    needed = total_bytes // 2  # one of two ranks, in the middle of the only window
    figure(f"loader, {name}: fetched by a resumed rank", fetched / needed, "of its shards", 1.0)
    shutil.rmtree(scratch)

    with Loader([dataset], 1, scratch) as loader:
        before = marks(loader.stream(0, len(loader) // 3))
    with Loader([dataset], 1, scratch) as loader:
        after = marks(loader.stream(len(loader) // 3, len(loader)))
    twice = len(before & after)
    left_out = SHARDS * SHARD_SEQUENCES - len(before | after)
    figure(f"loader, {name}: read twice after a resume", twice, "sequences", 0)
    figure(f"loader, {name}: left out by a resume", left_out, "sequences", 0)


def marks(blocks: Iterator[Tokens]) -> set[bytes]:
    """The first tokens of every sequence, which no two share."""
    return {sequence[:8].tobytes() for block in blocks for sequence in block}


def drain(loader: Loader, start: int) -> tuple[float, float]:
    """Seconds to the first block, and to the end."""
    began = time.perf_counter()
    first = 0.0
    for _ in loader.stream(start, len(loader)):
        first = first or time.perf_counter() - began
    return first, time.perf_counter() - began


def wait_share(blocks: Iterator[Tokens]) -> float:
    """Which part of the time a loop waits that takes 2 M tokens/s, after its first batch."""
    batches = steps(blocks)
    next(batches)
    step_seconds = STEP_SEQUENCES * LENGTH / TOKENS_PER_SECOND
    began, waited = time.perf_counter(), 0.0
    while True:
        asked = time.perf_counter()
        if next(batches, None) is None:
            return waited / (asked - began)
        waited += time.perf_counter() - asked
        time.sleep(step_seconds)


def steps(blocks: Iterator[Tokens]) -> Iterator[Tokens]:
    """Batches of `STEP_SEQUENCES`."""
    for block in blocks:
        for start in range(0, len(block), STEP_SEQUENCES):
            yield block[start : start + STEP_SEQUENCES]
