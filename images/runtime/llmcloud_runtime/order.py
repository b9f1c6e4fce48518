"""Which sequence training reads when: a pure function of a seed and of the shards' sizes.

Positions count the sequences of a whole training from 0. Where a position's sequence lies is
reckoned without reading anything, so an attempt that begins anywhere reads what an undisturbed
one would have read, with any number of ranks.

An epoch permutes the shards and takes them window by window, `WINDOW_SHARDS` at once; the
sequences of a window are permuted. So a shard is needed for one stretch of an epoch only. Every
window is cut into `LANES` equal parts, and positions take their turns among them: where the ranks
divide the lanes and each reads every `ranks`-th position, each needs its own part of the shards.

Nothing here rests on the streams of a library's generator, which may change between versions.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LANES = 16
WINDOW_SHARDS = 16
CYCLE_SLOTS = 4096
"""Of a lane: how finely several datasets are mixed, and how soon their shares are exact."""

Integers = NDArray[np.int64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def shuffled(count: int, *key: int) -> Integers:
    """A permutation of 0..count-1, decided by a key of integers from 0 on.

    The numbers are sorted by their place in the stream of SplitMix64 (G. Steele, D. Lea and
    C. Flood, "Fast splittable pseudorandom number generators", 2014) that the key seeds.
    """
    state = np.zeros(1, dtype=np.uint64)
    for part in key:
        state = _mixed(state + GAMMA * np.array([part + 1], dtype=np.uint64))
    marks = _mixed(state + GAMMA * np.arange(1, count + 1, dtype=np.uint64))
    order: Integers = np.argsort(marks)  # a bijection gave the marks: no two are the same
    return order


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's bijection of 64 bits, modulo 2^64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class ShardOrder:
    """The order of one dataset, endless: every epoch is a permutation of its own."""

    def __init__(self, sizes: Sequence[int], *key: int) -> None:
        """`sizes`: sequences of each shard. ValueError if there is none at all."""
        self._sizes: Integers = np.array(sizes, dtype=np.int64)
        self._full = np.flatnonzero(self._sizes)
        self._key = key
        self._length = int(self._sizes.sum())
        if not self._length:
            raise ValueError("The shards hold no sequence.")
        self._epoch = lru_cache(2)(self._plan_of_epoch)
        self._window = lru_cache(4)(self._places_in_window)

    def __len__(self) -> int:
        """Sequences of one epoch."""
        return self._length

    def places(self, positions: Integers) -> tuple[Integers, Integers]:
        """Shard, and number within it, of the sequence at each position."""
        epochs, offsets = np.divmod(positions, self._length)
        found = np.empty((2, len(positions)), dtype=np.int64)
        for epoch in np.unique(epochs).tolist():
            _, starts = self._epoch(epoch)
            here = np.flatnonzero(epochs == epoch)
            windows = np.searchsorted(starts, offsets[here], "right") - 1
            for window in np.unique(windows).tolist():
                mine = here[windows == window]
                found[:, mine] = self._window(epoch, window)[:, offsets[mine] - starts[window]]
        return found[0], found[1]

    def _plan_of_epoch(self, epoch: int) -> tuple[Integers, Integers]:
        """The shards in the order of an epoch, and the offset at which each window starts."""
        shards = self._full[shuffled(len(self._full), *self._key, epoch)]
        before = np.cumsum(self._sizes[shards]) - self._sizes[shards]
        return shards, before[::WINDOW_SHARDS]

    def _places_in_window(self, epoch: int, window: int) -> Integers:
        """Shard and number of every sequence of a window, in the order of reading: shape (2, n)."""
        shards, starts = self._epoch(epoch)
        shards = shards[window * WINDOW_SHARDS : (window + 1) * WINDOW_SHARDS]
        sizes = self._sizes[shards]
        first, count = epoch * self._length + int(starts[window]), int(sizes.sum())
        order = np.empty(count, dtype=np.int64)
        taken = 0
        for lane in range(LANES):
            slots = np.arange((lane - first) % LANES, count, LANES)
            order[slots] = taken + shuffled(len(slots), *self._key, epoch, window, lane)
            taken += len(slots)
        ends = np.cumsum(sizes)
        which = np.searchsorted(ends, order, "right")
        return np.stack([shards[which], order - (ends - sizes)[which]])


class GlobalOrder:
    """The order of a mixture of datasets.

    A dataset has the share weight x its sequences of all positions: weights of 1 read every
    sequence as often as any other, a weight of 2 reads a dataset's twice as often. Shares are
    exact after every `LANES` x `CYCLE_SLOTS` positions, in parts of one in `CYCLE_SLOTS`.
    """

    def __init__(self, sizes: Sequence[Sequence[int]], weights: Sequence[float], seed: int) -> None:
        """`sizes`: sequences of each shard, for each dataset. ValueError if one has none."""
        self._orders = [ShardOrder(shards, seed, number) for number, shards in enumerate(sizes)]
        self._seed = seed
        passes = np.array([len(order) for order in self._orders]) * np.array(weights)
        self._epoch_sequences = max(1, round(float(passes.sum())))
        self._slots = _slots(passes / passes.sum())
        self._cycle = lru_cache(2)(self._turns_in_cycle)

    def __len__(self) -> int:
        """Sequences of one epoch: of each dataset its weight times its sequences."""
        return self._epoch_sequences

    def places(self, positions: Integers) -> tuple[Integers, Integers, Integers]:
        """Dataset, shard, and number within the shard, of the sequence at each position."""
        datasets, own = self._turns(positions)
        shards, rows = np.empty_like(positions), np.empty_like(positions)
        for number, order in enumerate(self._orders):
            mine = np.flatnonzero(datasets == number)
            shards[mine], rows[mine] = order.places(own[mine])
        return datasets, shards, rows

    def _turns(self, positions: Integers) -> tuple[Integers, Integers]:
        """Whose turn each position is, and the position among all of that dataset."""
        if len(self._orders) == 1:
            return np.zeros_like(positions), positions
        datasets, own = np.empty_like(positions), np.empty_like(positions)
        cycles, places = np.divmod(positions, LANES * CYCLE_SLOTS)
        for cycle in np.unique(cycles).tolist():
            here = np.flatnonzero(cycles == cycle)
            turns, before = self._cycle(cycle)
            datasets[here] = turns[places[here]]
            earlier = cycle * self._slots[datasets[here]] + before[places[here]]
            own[here] = earlier * LANES + positions[here] % LANES
        return datasets, own

    def _turns_in_cycle(self, cycle: int) -> tuple[Integers, Integers]:
        """The dataset of every place of a cycle, and how many turns it had in that lane before."""
        turns = np.empty((CYCLE_SLOTS, LANES), dtype=np.int64)
        before = np.empty_like(turns)
        deck = np.repeat(np.arange(len(self._slots)), self._slots)
        for lane in range(LANES):
            turns[:, lane] = deck[shuffled(CYCLE_SLOTS, self._seed, len(self._slots), cycle, lane)]
            for number in range(len(self._slots)):
                mine = np.flatnonzero(turns[:, lane] == number)
                before[mine, lane] = np.arange(len(mine))
        return turns.ravel(), before.ravel()


def _slots(shares: NDArray[np.float64]) -> Integers:
    """`CYCLE_SLOTS` divided by largest remainders, at least one for each."""
    exact = shares * CYCLE_SLOTS
    slots: Integers = np.maximum(1, np.floor(exact)).astype(np.int64)
    while slots.sum() < CYCLE_SLOTS:
        slots[np.argmax(exact - slots)] += 1
    while slots.sum() > CYCLE_SLOTS:
        slots[np.argmax(slots)] -= 1
    return slots
