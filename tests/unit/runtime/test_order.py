"""The global order of the data: laws that hold whatever the shards are."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud_runtime.order import (
    CYCLE_SLOTS,
    LANES,
    WINDOW_SHARDS,
    GlobalOrder,
    Integers,
    ShardOrder,
    shuffled,
)

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(lambda sizes: sum(sizes) > 8)
SEEDS = st.integers(0, 2**31 - 1)


def pairs(order: ShardOrder, start: int, end: int) -> list[tuple[int, int]]:
    shards, rows = order.places(np.arange(start, end))
    return list(zip(shards.tolist(), rows.tolist(), strict=True))


def everything(sizes: list[int]) -> list[tuple[int, int]]:
    return [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]


@settings(max_examples=50, deadline=None)
@given(sizes=SIZES, seed=SEEDS)
def test_every_epoch_reads_every_sequence_once(sizes: list[int], seed: int) -> None:
    order, count = ShardOrder(sizes, seed), sum(sizes)
    for epoch in range(2):
        read = pairs(order, epoch * count, (epoch + 1) * count)
        assert sorted(read) == everything(sizes)


@settings(max_examples=50, deadline=None)
@given(sizes=SIZES, seed=SEEDS, start=st.integers(0, 200), length=st.integers(1, 50))
def test_the_order_does_not_depend_on_where_reading_begins(
    sizes: list[int], seed: int, start: int, length: int
) -> None:
    whole = pairs(ShardOrder(sizes, seed), 0, start + length)
    assert pairs(ShardOrder(sizes, seed), start, start + length) == whole[start:]


@settings(max_examples=20, deadline=None)
@given(
    several=st.lists(SIZES, min_size=1, max_size=3),
    seed=SEEDS,
    consumed=st.integers(0, 10**7),
    ranks=st.sampled_from([2, 3, 4, 8]),
)
def test_any_number_of_ranks_reads_the_same_global_order(
    several: list[list[int]], seed: int, consumed: int, ranks: int
) -> None:
    def order() -> GlobalOrder:
        return GlobalOrder(several, [1.0] * len(several), seed)

    positions = np.arange(consumed, consumed + 32)
    whole = np.stack(order().places(positions))
    for rank in range(ranks):
        mine = positions % ranks == rank
        assert (np.stack(order().places(positions[mine])) == whole[:, mine]).all()


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 50), shards=st.integers(1, 60), seed=SEEDS)
def test_a_shard_is_needed_for_one_stretch_of_an_epoch(size: int, shards: int, seed: int) -> None:
    order = ShardOrder([size] * shards, seed)
    for start in range(0, shards * size, WINDOW_SHARDS * size):
        end = min(start + WINDOW_SHARDS * size, shards * size)
        read = Counter(shard for shard, _ in pairs(order, start, end))
        assert len(read) <= WINDOW_SHARDS
        assert set(read.values()) == {size}


@pytest.mark.parametrize("ranks", [2, 4, 8, 16])
def test_each_rank_needs_its_own_part_of_the_shards(ranks: int) -> None:
    order = ShardOrder([LANES] * WINDOW_SHARDS * 3, 7)
    positions = np.arange(len(order))
    shards, _ = order.places(positions)
    parts = [set(shards[positions % ranks == rank].tolist()) for rank in range(ranks)]
    assert [len(part) for part in parts] == [WINDOW_SHARDS * 3 // ranks] * ranks
    assert set.union(*parts) == set(range(WINDOW_SHARDS * 3))


def test_a_batch_draws_on_many_shards() -> None:
    shards, _ = ShardOrder([1000] * 64, 0).places(np.arange(64))
    assert len(set(shards.tolist())) == WINDOW_SHARDS


@settings(max_examples=4, deadline=None)
@given(
    lengths=st.lists(st.integers(100, 900), min_size=2, max_size=4),
    weights=st.lists(st.floats(0.1, 10), min_size=5, max_size=5),
    seed=SEEDS,
)
def test_a_mixture_keeps_to_its_weights_and_reads_each_dataset_in_its_own_order(
    lengths: list[int], weights: list[float], seed: int
) -> None:
    order = GlobalOrder([[length] for length in lengths], weights[: len(lengths)], seed)
    count = LANES * CYCLE_SLOTS
    datasets, _, rows = order.places(np.arange(2 * count))
    passes = np.array(lengths) * np.array(weights[: len(lengths)])
    wanted = passes / passes.sum() * CYCLE_SLOTS
    for number, length in enumerate(lengths):
        turns = np.flatnonzero(datasets[:count] == number)
        slots = len(turns) / LANES
        assert abs(slots - wanted[number]) < len(lengths)
        assert slots >= 1
        _check_evenly_read(rows[datasets == number], length)


def _check_evenly_read(rows: Integers, length: int) -> None:
    times = np.bincount(rows, minlength=length)
    assert times.max() - times.min() <= 1


def test_an_epoch_of_a_mixture_counts_weights() -> None:
    assert len(GlobalOrder([[10, 10], [5]], [1, 2], 0)) == 30
    assert len(GlobalOrder([[10, 10]], [0.5], 0)) == 10


def test_seeds_epochs_and_datasets_differ() -> None:
    order = ShardOrder([50], 0)
    first, second = pairs(order, 0, 50), pairs(order, 50, 100)
    others = [pairs(ShardOrder([50], 1), 0, 50), pairs(ShardOrder([50], 0, 1), 0, 50)]
    assert all(one != other for one, other in pairwise([first, second, *others]))


def test_the_order_is_that_of_earlier_versions() -> None:
    """A job that another version of the image began goes on in the same order."""
    assert shuffled(10, 0, 1).tolist() == [6, 0, 4, 5, 2, 7, 9, 1, 8, 3]
    shards, rows = ShardOrder([4] * 20, 42, 0).places(np.array([0, 1, 2, 63, 64, 79, 80, 10**6]))
    assert shards.tolist() == [13, 19, 2, 9, 10, 5, 17, 14]
    assert rows.tolist() == [0, 3, 1, 1, 0, 3, 1, 0]


def test_shards_without_a_sequence_are_refused() -> None:
    with pytest.raises(ValueError, match="no sequence"):
        ShardOrder([0, 0])
