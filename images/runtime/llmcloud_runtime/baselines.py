"""What a model must beat: perplexities of a unigram and of an interpolated bigram model.

Both predict the same tokens as the model: of every sequence all but the first. Memory grows
with the vocabulary and with the held-out text, not with the training text: only the pairs that
will be asked for are counted.

Unigram, add-one smoothing:       p1(w) = (c(w) + 1) / (N + V)
Bigram, Jelinek-Mercer:           p2(w|v) = L c(v,w)/c(v) + (1 - L) p1(w), and p1(w) if c(v) = 0
(F. Jelinek and R. L. Mercer, "Interpolated estimation of Markov source parameters from sparse
data", 1980). L maximizes, by expectation-maximization, the likelihood of the last
`HELD_IN_FRACTION` of the training sequences under counts of the others; the counts of all then
predict the held-out text.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmcloud.api.model import TaskName
from llmcloud_runtime.shards import Tokens

HELD_IN_FRACTION = 0.1
HELD_IN_SEQUENCES = 20_000
ITERATIONS = 20

Counts = NDArray[np.int64]
Keys = NDArray[np.uint64]


class Sequences(Protocol):
    """Token sequences that can be read in order, from any of them on."""

    def __len__(self) -> int: ...

    def rows(self, start: int, end: int) -> Iterator[Tokens]:
        """The sequences start..end-1 in blocks of shape (n, length)."""
        ...


@dataclass(frozen=True)
class Baselines:
    """Perplexities over the validation tokens, and the weight that the bigram got."""

    unigram: float
    bigram: float
    bigram_weight: float


def pair_keys(tokens: Tokens, vocabulary_size: int) -> Keys:
    """One number for every (previous, next) of the sequences: previous * V + next."""
    left = tokens[:, :-1].astype(np.uint64).ravel()
    right = tokens[:, 1:].astype(np.uint64).ravel()
    keys: Keys = left * np.uint64(vocabulary_size) + right
    return keys


class _Table:
    """Counts of single tokens, of contexts, and of those pairs that are in `keys`."""

    def __init__(self, keys: Keys, vocabulary_size: int) -> None:
        self.keys = keys
        self.vocabulary_size = vocabulary_size
        self.unigrams: Counts = np.zeros(vocabulary_size, dtype=np.int64)
        self.contexts: Counts = np.zeros(vocabulary_size, dtype=np.int64)
        self.pairs: Counts = np.zeros(len(keys), dtype=np.int64)

    def add(self, tokens: Tokens) -> None:
        """Count the sequences of a block, shape (n, length)."""
        size = self.vocabulary_size
        self.unigrams += np.bincount(tokens[:, 1:].ravel(), minlength=size)
        self.contexts += np.bincount(tokens[:, :-1].ravel(), minlength=size)
        if not len(self.keys):
            return
        found, counts = np.unique(pair_keys(tokens, size), return_counts=True)
        places = np.searchsorted(self.keys, found)
        places[places == len(self.keys)] = 0
        known = self.keys[places] == found
        self.pairs[places[known]] += counts[known]

    def probabilities(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """For every key: the unigram's probability and the bigram's relative frequency."""
        left = (self.keys // np.uint64(self.vocabulary_size)).astype(np.int64)
        right = (self.keys % np.uint64(self.vocabulary_size)).astype(np.int64)
        single = (self.unigrams[right] + 1) / (self.unigrams.sum() + self.vocabulary_size)
        seen = self.contexts[left]
        # An unseen context leaves all its weight to the unigram: both parts are the same there.
        pair = np.where(seen > 0, self.pairs / np.maximum(seen, 1), single)
        return single, pair


def measure(train: Sequences, validation: Sequences, vocabulary_size: int) -> Baselines:
    """Train both models on `train`, measure them on `validation` (at least one sequence)."""
    held_in_rows = min(int(len(train) * HELD_IN_FRACTION), HELD_IN_SEQUENCES)
    counted_rows = len(train) - held_in_rows
    held_in = _unique(train.rows(counted_rows, len(train)), vocabulary_size)
    held_out = _unique(validation.rows(0, len(validation)), vocabulary_size)
    table = _Table(np.union1d(held_in[0], held_out[0]), vocabulary_size)
    for block in train.rows(0, counted_rows):
        table.add(block)
    weight = _fit(*_select(table, held_in[0]), held_in[1]) if held_in_rows else 0.5
    for block in train.rows(counted_rows, len(train)):
        table.add(block)
    single, pair = _select(table, held_out[0])
    return Baselines(
        unigram=_perplexity(single, held_out[1]),
        bigram=_perplexity(weight * pair + (1 - weight) * single, held_out[1]),
        bigram_weight=weight,
    )


def perplexities(
    train: Sequences, validation: Sequences, vocabulary_size: int, task: TaskName
) -> dict[str, float]:
    """The baselines by the names of reports; a bigram says nothing of hidden tokens."""
    measured = measure(train, validation, vocabulary_size)
    if task == "masked-lm":
        return {"unigramPerplexity": measured.unigram}
    return {"unigramPerplexity": measured.unigram, "bigramPerplexity": measured.bigram}


def _unique(blocks: Iterable[Tokens], vocabulary_size: int) -> tuple[Keys, Counts]:
    """Different pairs of the sequences, sorted, and how often each occurs."""
    keys: Keys = np.empty(0, dtype=np.uint64)
    counts: Counts = np.empty(0, dtype=np.int64)
    for block in blocks:
        found, times = np.unique(pair_keys(block, vocabulary_size), return_counts=True)
        merged = np.concatenate([keys, found])
        keys, places = np.unique(merged, return_inverse=True)
        counts = np.bincount(
            places, weights=np.concatenate([counts, times]), minlength=len(keys)
        ).astype(np.int64)
    return keys, counts


def _select(table: _Table, keys: Keys) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    single, pair = table.probabilities()
    places = np.searchsorted(table.keys, keys)
    return single[places], pair[places]


def _fit(single: NDArray[np.float64], pair: NDArray[np.float64], counts: Counts) -> float:
    """The bigram's weight by expectation-maximization."""
    weight = 0.5
    for _ in range(ITERATIONS):
        share = weight * pair / (weight * pair + (1 - weight) * single)
        weight = float((share * counts).sum() / counts.sum())
    return weight


def _perplexity(probabilities: NDArray[np.float64], counts: Counts) -> float:
    return math.exp(-float((np.log(probabilities) * counts).sum() / counts.sum()))
