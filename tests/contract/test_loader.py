"""The trainer's loader on each server: one global order, whatever the ranks and interruptions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from llmcloud.api.contract import ShardEntry
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.errors import DigestMismatch, ObjectNotFound
from llmcloud.cloud.manifest import sha256_of
from llmcloud_runtime.loader import Loader, Reader, StoredDataset
from llmcloud_runtime.order import WINDOW_SHARDS
from llmcloud_runtime.shards import Tokens
from tests.contract.proxy import Fault, Proxy, proxied
from tests.contract.servers import Server

LENGTH = 8
ROWS = 32
SHARDS = 40
SHARD_BYTES = ROWS * LENGTH * 4
FOLDER = "out/versions/1/"


def write_shards(store: Store, folder: Path, number: int, rows: Sequence[int]) -> StoredDataset:
    """Shards whose every sequence tells its dataset, its shard and its number there."""
    folder.mkdir(exist_ok=True)
    entries = []
    for shard, count in enumerate(rows):
        tokens = np.zeros((count, LENGTH), dtype="<u4")
        tokens[:, 0], tokens[:, 1], tokens[:, 2] = number, shard, np.arange(count)
        file = folder / f"{number}-{shard:05d}.bin"
        tokens.tofile(file)
        key = f"a1/train/{file.name}"
        store.put(FOLDER + key, file)
        size, digest = file.stat().st_size, sha256_of(file)
        entries.append(ShardEntry(key=key, bytes=size, sha256=digest, sequences=count))
    return StoredDataset(store, FOLDER, entries, LENGTH)


@pytest.fixture(scope="module")
def published(
    shared_bucket: Callable[[Server], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Server], StoredDataset]:
    """A dataset on each server that all tests read."""

    @cache
    def publish(server: Server) -> StoredDataset:
        store = open_store(server.location(shared_bucket(server), prefix="loader/"))
        folder = tmp_path_factory.mktemp("made")
        return write_shards(store, folder, 0, [ROWS] * (SHARDS - 1) + [ROWS - 5])

    return publish


@pytest.fixture
def dataset(server: Server, published: Callable[[Server], StoredDataset]) -> StoredDataset:
    return published(server)


def behind(dataset: StoredDataset, proxy: Proxy) -> StoredDataset:
    """The same shards, read through a proxy."""
    location = dataset.store.location.model_copy(update={"endpoint_url": proxy.url})
    return replace(dataset, store=open_store(location, read_timeout_seconds=2))


def read(
    loader: Loader, start: int, end: int, rank: int = 0, ranks: int = 1
) -> list[tuple[int, ...]]:
    """What the sequences tell of themselves."""
    return told(loader.stream(start, end, rank, ranks))


def told(blocks: Iterator[Tokens]) -> list[tuple[int, ...]]:
    return [tuple(row[:3].tolist()) for block in blocks for row in block]


def used_bytes(folder: Path) -> int:
    """Of the files that are there; one that is being laid down may get its name meanwhile."""
    used = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            used += file.stat().st_size if file.is_file() else 0
    return used


def test_the_global_order_is_the_same_at_any_number_of_ranks_and_after_a_resume(
    dataset: StoredDataset, tmp_path: Path
) -> None:
    end = 3000  # into the third epoch
    with Loader([dataset], 7, tmp_path / "whole") as loader:
        whole = read(loader, 0, end)
        assert sorted(whole[: len(loader)]) == sorted(told(loader.rows(0, len(loader))))
        assert len(set(whole[: len(loader)])) == len(loader) == loader.epoch_sequences
    consumed = 0
    for ranks, batches in [(1, 13), (4, 20), (2, 9), (8, 40), (1, None)]:
        stop = end if batches is None else consumed + 8 * batches
        for rank in range(ranks):
            with Loader([dataset], 7, tmp_path / f"{ranks}-{rank}-{consumed}") as loader:
                mine = read(loader, consumed, stop, rank, ranks)
                assert mine == whole[consumed + rank : stop : ranks]
        consumed = stop


def test_a_resumed_run_asks_for_no_shard_twice_and_for_none_that_is_consumed(
    dataset: StoredDataset, server: Server, tmp_path: Path
) -> None:
    start = WINDOW_SHARDS * ROWS  # one window is consumed
    with proxied(server.url, server.provider) as proxy:
        with Loader([behind(dataset, proxy)], 7, tmp_path / "scratch") as loader:
            rest = read(loader, start, len(loader))
        keys = [request.target for request in proxy.requests if request.method == "GET"]
    needed = {shard for _, shard, _ in rest}
    fetched = [shard for shard in range(SHARDS) if any(f"0-{shard:05d}" in key for key in keys)]
    assert set(fetched) == needed
    assert len(needed) == SHARDS - WINDOW_SHARDS
    ranges = 1 if server.provider != "azure" else 2  # Azure's SDK may look at the size first
    assert len(keys) <= ranges * len(needed)


def test_disk_is_bounded_and_shards_are_fetched_anew_when_they_had_to_go(
    dataset: StoredDataset, tmp_path: Path
) -> None:
    budget_bytes = 2 * WINDOW_SHARDS * SHARD_BYTES
    seen, most = [], 0
    with Loader([dataset], 7, tmp_path / "scratch", budget_bytes) as loader:
        for block in loader.stream(0, 3 * len(loader)):
            seen += told(iter([block]))
            most = max(most, used_bytes(tmp_path / "scratch"))
    with Loader([dataset], 7, tmp_path / "roomy") as loader:
        assert seen == read(loader, 0, 3 * len(loader))
    assert SHARD_BYTES < most <= budget_bytes


def test_a_disk_smaller_than_a_window_still_serves(dataset: StoredDataset, tmp_path: Path) -> None:
    with Loader([dataset], 7, tmp_path / "scratch", SHARD_BYTES) as loader:
        assert len(set(read(loader, 0, len(loader)))) == len(loader)
        assert used_bytes(tmp_path / "scratch") <= 2 * WINDOW_SHARDS * SHARD_BYTES


def test_no_token_of_a_corrupt_shard_is_used(store: Store, tmp_path: Path) -> None:
    dataset = write_shards(store, tmp_path / "made", 0, [ROWS] * 20)
    entry = dataset.shards[3]
    store.put(FOLDER + entry.key, b"\0" * entry.bytes)
    seen: list[tuple[int, ...]] = []

    def read_all(loader: Loader) -> None:
        for block in loader.stream(0, len(loader)):
            seen.extend(told(iter([block])))

    with (
        Loader([dataset], 7, tmp_path / "scratch") as loader,
        pytest.raises(DigestMismatch, match=r"0-00003\.bin is corrupt"),
    ):
        read_all(loader)
    assert all(shard != 3 for _, shard, _ in seen)
    assert (0, 0, 0) not in seen[1:]


def test_a_missing_shard_is_told(store: Store, tmp_path: Path) -> None:
    dataset = write_shards(store, tmp_path / "made", 0, [ROWS] * 2)
    store.delete(FOLDER + dataset.shards[0].key)
    with (
        Loader([dataset], 7, tmp_path / "scratch") as loader,
        pytest.raises(ObjectNotFound, match=r"0-00000\.bin"),
    ):
        read(loader, 0, len(loader))


def test_answers_that_break_off_change_nothing(
    dataset: StoredDataset, server: Server, tmp_path: Path
) -> None:
    with Loader([dataset], 7, tmp_path / "direct") as loader:
        whole = read(loader, 0, len(loader))
    broken = iter([Fault.RESET, Fault.TRUNCATE, Fault.SLOW_DOWN] * 3)
    with proxied(server.url, server.provider) as proxy:
        proxy.judge = lambda request: next(broken, None) if len(proxy.requests) % 4 == 0 else None
        with Loader([behind(dataset, proxy)], 7, tmp_path / "scratch") as loader:
            assert read(loader, 0, len(loader)) == whole
    assert next(broken, None) is None


def test_several_datasets_are_mixed_by_weight(
    store: Store, dataset: StoredDataset, tmp_path: Path
) -> None:
    other = write_shards(store, tmp_path / "made", 1, [ROWS, ROWS])
    heavy = replace(other, weight=10)
    with Loader([dataset, heavy], 7, tmp_path / "scratch") as loader:
        assert len(loader) == SHARDS * ROWS - 5 + 2 * ROWS
        assert loader.epoch_sequences == SHARDS * ROWS - 5 + 20 * ROWS
        whole = read(loader, 0, 4000)
        assert read(loader, 1000, 1500, 1, 2) == whole[1001:1500:2]
    share = sum(number for number, _, _ in whole) / len(whole)
    assert share == pytest.approx(20 / 60, abs=0.05)
    assert len(set(whole[: loader.epoch_sequences])) > 0.95 * len(loader)


def test_datasets_of_different_sequence_lengths_are_refused(
    versitygw: Server, published: Callable[[Server], StoredDataset], tmp_path: Path
) -> None:
    dataset = published(versitygw)
    other = replace(dataset, sequence_length_tokens=2 * LENGTH)
    with pytest.raises(ValueError, match=r"sequences of \[8, 16\] tokens"):
        Loader([dataset, other], 0, tmp_path)


def test_a_reader_reads_on_and_jumps(dataset: StoredDataset, tmp_path: Path) -> None:
    with Loader([dataset], 7, tmp_path / "scratch") as loader:
        whole = read(loader, 0, 500)
        reader = Reader(loader, 500)
        for position in [*range(200, 300), 450, 499, 0, 1]:
            assert told(iter([reader.sequence(position)[None]])) == [whole[position]]
        reader.close()


def test_a_loader_that_is_left_half_way_can_go_on(dataset: StoredDataset, tmp_path: Path) -> None:
    with Loader([dataset], 7, tmp_path / "scratch", 20 * SHARD_BYTES) as loader:
        whole = read(loader, 0, 1000)
        blocks = loader.stream(0, 1000)
        next(blocks)
        blocks.close()
        assert read(loader, 0, 1000) == whole


@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
def test_a_shard_that_could_not_be_fetched_is_asked_for_again(store: Store, tmp_path: Path) -> None:
    dataset = write_shards(store, tmp_path / "made", 0, [ROWS] * 3)
    entry = dataset.shards[0]
    whole = store.get(FOLDER + entry.key)
    store.delete(FOLDER + entry.key)
    with Loader([dataset], 7, tmp_path / "read") as loader:
        with pytest.raises(ObjectNotFound):
            read(loader, 0, 3 * ROWS)
        store.put(FOLDER + entry.key, whole)
        assert len(set(read(loader, 0, 3 * ROWS))) == 3 * ROWS
