"""Examples of several datasets, mixed by weight, and which datasets may be mixed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.configuration import check_alike
from llmcloud_runtime.errors import VocabularyMismatch
from llmcloud_runtime.order import CYCLE_SLOTS, LANES
from llmcloud_runtime.records import ExampleReader, Examples, Mixture
from tests.unit.runtime.test_configuration import manifest

EXACT_AFTER = LANES * CYCLE_SLOTS


def examples(folder: Path, name: str, *sizes: int) -> Examples:
    files = []
    for shard, size in enumerate(sizes):
        file = folder / f"{name}-{shard}"
        file.write_text("".join(f'{{"text": "{name} {shard} {n}"}}\n' for n in range(size)))
        files.append((file, size))
    return Examples(files)


def read(mixture: Mixture, count: int, seed: int = 5, ranks: int = 1) -> list[str]:
    """The first examples in the global order, as the ranks together read them."""
    readers = [ExampleReader(mixture, seed, rank, ranks) for rank in range(ranks)]
    return [readers[place % ranks].sequence(place // ranks)["text"] for place in range(count)]


def test_the_order_is_the_same_at_any_number_of_ranks_and_from_any_sample_on(
    tmp_path: Path,
) -> None:
    mixture = Mixture([examples(tmp_path, "a", 7, 0, 5), examples(tmp_path, "b", 9)], [1, 3])
    alone = read(mixture, 96)
    assert alone == read(mixture, 96, ranks=2) == read(mixture, 96, ranks=3)
    assert alone != read(mixture, 96, seed=6)
    resumed = ExampleReader(mixture, 5, 0, 1)
    assert [resumed.sequence(place)["text"] for place in range(50, 96)] == alone[50:]


def test_a_share_is_weight_times_size(tmp_path: Path) -> None:
    mixture = Mixture([examples(tmp_path, "a", 3000), examples(tmp_path, "b", 1000)], [1, 5])
    assert (len(mixture), mixture.epoch_examples) == (4000, 8000)
    datasets, _, _ = mixture.order(5).places(np.arange(EXACT_AFTER))
    assert np.mean(datasets == 0) == pytest.approx(30 / 80, abs=1 / CYCLE_SLOTS)


def test_with_the_same_weight_every_example_is_read_as_often(tmp_path: Path) -> None:
    mixture = Mixture([examples(tmp_path, "a", 1200), examples(tmp_path, "b", 400)], [1, 1])
    drawn = Counter(zip(*mixture.order(5).places(np.arange(EXACT_AFTER)), strict=True))
    assert len(drawn) == len(mixture) == mixture.epoch_examples
    assert max(drawn.values()) - min(drawn.values()) <= LANES


def test_of_one_dataset_an_epoch_reads_each_example_once(tmp_path: Path) -> None:
    mixture = Mixture([examples(tmp_path, "a", 12, 20)], [1])
    assert sorted(read(mixture, 32)) == sorted(record["text"] for record in mixture)


def test_datasets_that_differ_are_not_mixed() -> None:
    check_alike([("a", manifest()), ("b", manifest())])
    for members in ({"type": "pairs"}, {"sequence_length_tokens": 64}, {"labels": ["x", "y"]}):
        other = manifest().model_copy(update=members)
        with pytest.raises(ConfigurationInvalid, match="prepare them alike"):
            check_alike([("a", manifest()), ("b", other)])
    other = manifest().model_copy(update={"tokenizer_digest": "sha256:other"})
    with pytest.raises(VocabularyMismatch, match=r"spec\.tokenizer\.model"):
        check_alike([("a", manifest()), ("b", other)])
