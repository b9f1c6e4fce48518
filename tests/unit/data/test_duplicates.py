"""Duplicates and near duplicates: which documents go, measured against true similarities."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud_data.documents import DIGEST
from llmcloud_data.merging import drop_copies
from llmcloud_data.near_duplicates import (
    HASHES,
    BandWriter,
    jaccard,
    join_bands,
    rows_of_band,
    shingles,
    signature,
)
from llmcloud_data.words import simple_words

WORDS = [f"word{n}" for n in range(20_000)]
Removed = Callable[..., list[int]]


@pytest.fixture
def removed(tmp_path: Path) -> Removed:
    """The numbers of the texts that go."""

    def run(
        texts: list[str], similarity: float, excluded: frozenset[int] = frozenset()
    ) -> list[int]:
        states = np.array([number not in excluded for number in range(len(texts))], dtype=np.uint8)
        with BandWriter(tmp_path, similarity) as writer:
            for text in texts:
                writer.add(text)
            writer.finish(tmp_path / "bands")
        count = join_bands(
            [tmp_path / "bands"], [len(texts)], states, texts.__getitem__, similarity, 3, tmp_path
        )
        gone = set(np.flatnonzero(states == 0).tolist()) - excluded
        assert len(gone) == count
        return sorted(gone)

    return run


def random_words(dice: random.Random, count: int = 200) -> list[str]:
    return dice.choices(WORDS, k=count)


def changed(dice: random.Random, words: list[str], changes: int) -> list[str]:
    """Each change breaks up to five runs of five words."""
    copy = list(words)
    for place in dice.sample(range(len(words)), changes):
        copy[place] = dice.choice(WORDS)
    return copy


def similarity(one: str, two: str) -> float:
    """Of the sets of five-word runs, without hashes."""
    runs = []
    for text in (one, two):
        words = simple_words(text)
        length = min(5, len(words))
        runs.append({tuple(words[n : n + length]) for n in range(len(words) - length + 1)})
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


@given(st.lists(st.integers(0, 3), min_size=1), st.integers(1, 5))
def test_the_first_of_each_copy_stays(values: list[int], passes: int) -> None:
    digests = np.array([bytes([value]) * 32 for value in values], dtype=DIGEST)
    states = np.ones(len(values), dtype=np.uint8)
    dropped = drop_copies(digests, states, passes)
    kept = [value for value, state in zip(values, states, strict=True) if state]
    assert kept == list(dict.fromkeys(values))
    assert dropped == len(values) - len(kept)


def test_hashed_similarity_is_the_similarity() -> None:
    dice = random.Random(1)
    for changes in range(0, 60, 5):
        words = random_words(dice)
        one, two = " ".join(words), " ".join(changed(dice, words, changes))
        assert jaccard(shingles(one), shingles(two)) == similarity(one, two)
    assert jaccard(shingles(""), shingles("")) == 0
    assert jaccard(shingles("One, two!"), shingles("one two")) == 1


def test_signatures_agree_as_often_as_documents_are_similar() -> None:
    dice = random.Random(2)
    errors = []
    for changes in range(1, 60):
        words = random_words(dice)
        one, two = shingles(" ".join(words)), shingles(" ".join(changed(dice, words, changes)))
        errors.append((signature(one) == signature(two)).mean() - jaccard(one, two))
    deviation = (0.25 / HASHES) ** 0.5
    assert abs(np.mean(errors)) < deviation
    assert np.max(np.abs(errors)) < 4 * deviation


@pytest.mark.parametrize("percent", range(50, 96))
def test_bands_find_what_is_similar_enough(percent: int) -> None:
    rows = rows_of_band(percent / 100)
    assert HASHES % rows < HASHES
    assert 1 - (1 - min(1, percent / 100 + 0.05) ** rows) ** (HASHES // rows) >= 0.999


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_near_duplicates_go_and_others_stay(removed: Removed, threshold: float) -> None:
    dice = random.Random(3)
    texts: list[str] = []
    for number in range(400):
        words = random_words(dice)
        texts += [" ".join(words), " ".join(changed(dice, words, number % 40))]
    gone = set(removed(texts, threshold))
    best = {n: similarity(texts[n - n % 2], texts[n - n % 2 + 1]) for n in range(len(texts))}
    alike = {n for n in range(1, len(texts), 2) if best[n] >= threshold + 0.05}
    apart = {n for n in best if best[n] <= threshold - 0.1}
    assert len(alike) >= 20
    assert len(apart) > 60
    assert len(alike & gone) >= 0.98 * len(alike)
    assert not apart & gone
    assert all(number % 2 for number in gone)


def test_of_a_chain_of_similar_documents_the_first_stays(removed: Removed) -> None:
    dice = random.Random(4)
    chain = [random_words(dice)]
    while len(chain) < 12:
        chain.append(changed(dice, chain[-1], 3))
    texts = [" ".join(words) for words in chain]
    assert min(similarity(*pair) for pair in pairwise(texts)) > 0.8
    assert similarity(texts[0], texts[-1]) < 0.5
    assert removed(texts, 0.8) == list(range(1, 12))


def test_many_copies_and_documents_without_words(removed: Removed) -> None:
    copies = [f"{' '.join(WORDS[:300])} {number}" for number in range(300)]
    assert removed([*copies, "!!!", "???", "..."], 0.9) == list(range(1, 300))


def test_what_is_gone_already_stands_for_nobody(removed: Removed) -> None:
    text = " ".join(WORDS[:50])
    assert removed([text, text, text], 0.8, frozenset({1})) == [2]
    assert removed([text, text, text], 0.8, frozenset({0, 1})) == []
