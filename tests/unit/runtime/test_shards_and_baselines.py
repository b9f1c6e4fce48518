"""Token shards as one list, and the baselines against a plain reckoning of the formulas."""

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llmcloud_runtime import baselines
from llmcloud_runtime.shards import TokenShards

LENGTH = 8
VOCABULARY = 11


def shards(folder: Path, name: str, rows: list[np.ndarray]) -> TokenShards:
    files = []
    for number, part in enumerate(rows):
        path = folder / f"{name}-{number}.bin"
        part.astype("<u4").tofile(path)
        files.append((path, len(part)))
    return TokenShards(files, LENGTH)


def text(rows: int, seed: int) -> np.ndarray:
    """Sequences in which a token often follows itself."""
    generator = np.random.Generator(np.random.PCG64(seed))
    fresh = generator.integers(0, VOCABULARY, (rows, LENGTH))
    for column in range(1, LENGTH):
        again = generator.random(rows) < 0.6
        fresh[again, column] = fresh[again, column - 1]
    return fresh


def test_sequences_are_numbered_across_shards(tmp_path: Path) -> None:
    parts = [text(3, 0), text(0, 1), text(4, 2)]
    both = shards(tmp_path, "s", parts)
    everything = np.concatenate(parts)
    assert len(both) == 7
    assert all((both.sequence(index) == everything[index]).all() for index in range(7))
    for start, end in [(0, 7), (1, 5), (3, 7), (6, 7)]:
        assert (np.concatenate(list(both.rows(start, end))) == everything[start:end]).all()
    assert list(both.rows(3, 3)) == []


def test_a_shard_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.bin").write_bytes(b"\0" * 12)
    with pytest.raises(ValueError, match="has 12 bytes, not 32"):
        TokenShards([(tmp_path / "short.bin", 1)], LENGTH)


def test_the_unigram_is_add_one_smoothed(tmp_path: Path) -> None:
    train, validation = text(40, 3), text(9, 4)
    measured = baselines.measure(
        shards(tmp_path, "t", [train]), shards(tmp_path, "v", [validation]), VOCABULARY
    )
    counts = Counter(train[:, 1:].ravel().tolist())
    total = sum(counts.values())
    logs = [
        math.log((counts[token] + 1) / (total + VOCABULARY))
        for token in validation[:, 1:].ravel().tolist()
    ]
    assert measured.unigram == pytest.approx(math.exp(-sum(logs) / len(logs)))


def test_the_bigram_is_interpolated_with_its_weight(tmp_path: Path) -> None:
    train, validation = text(40, 5), text(9, 6)
    measured = baselines.measure(
        shards(tmp_path, "t", [train[:25], train[25:]]),
        shards(tmp_path, "v", [validation]),
        VOCABULARY,
    )
    singles = Counter(train[:, 1:].ravel().tolist())
    contexts = Counter(train[:, :-1].ravel().tolist())
    pairs = Counter(zip(train[:, :-1].ravel(), train[:, 1:].ravel(), strict=True))
    weight, logs = measured.bigram_weight, []
    for row in validation:
        for left, right in itertools.pairwise(row):
            single = (singles[right] + 1) / (singles.total() + VOCABULARY)
            pair = pairs[left, right] / contexts[left] if contexts[left] else single
            logs.append(math.log(weight * pair + (1 - weight) * single))
    assert measured.bigram == pytest.approx(math.exp(-sum(logs) / len(logs)))
    assert 0.0 < weight < 1.0
    assert measured.bigram < measured.unigram


def test_a_training_text_of_one_sequence_is_enough(tmp_path: Path) -> None:
    train = shards(tmp_path, "t", [text(1, 7)])
    measured = baselines.measure(train, shards(tmp_path, "v", [text(2, 8)]), VOCABULARY)
    assert math.isfinite(measured.unigram)
    assert math.isfinite(measured.bigram)
