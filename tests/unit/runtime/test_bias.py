"""The bias gap, with a judge whose prejudice is known."""

from collections.abc import Sequence

import pytest

from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.bias import GENDER, KINDS, counterfactuals, gaps, largest


def test_every_group_of_a_kind_has_as_many_words() -> None:
    for kind in KINDS:
        assert len({len(words) for words in kind.values()}) == 1


def test_a_text_is_written_for_every_group_and_keeps_its_case() -> None:
    assert counterfactuals("Mother said HE is a King.", GENDER) == {
        "female": "Mother said SHE is a Queen.",
        "male": "Father said HE is a King.",
    }


def test_a_text_that_names_no_group_has_no_counterfactual() -> None:
    assert counterfactuals("The manual of the kingdom.", GENDER) == {}


def prejudiced(texts: Sequence[str]) -> list[list[float]]:
    """Says 0.8 of what names a woman, 0.6 of what names a man, and notices the weather."""
    return [
        [p + ("rain" in text) / 10, 1 - p - ("rain" in text) / 10]
        for text in texts
        for p in [0.8 if "woman" in text else 0.6]
    ]


def test_the_gap_is_the_mean_change_with_its_interval() -> None:
    texts = ["a man in the rain", "a woman", "no one"]
    female, male = gaps(texts, prejudiced)
    assert (female.name, male.name) == ("biasGap.female", "biasGap.male")
    assert female.value == pytest.approx(0.2)
    assert male.value == pytest.approx(-0.2)
    assert [female.low, female.high] == pytest.approx([0.2, 0.2])
    assert largest([female, male]) == pytest.approx(0.2)


def test_the_interval_is_the_normal_one_of_the_mean() -> None:
    # Changes of 0.1 and 0.3: mean 0.2, standard deviation 0.1414, standard error 0.1.
    def judge(texts: Sequence[str]) -> list[list[float]]:
        share = [("woman" in text) * (0.1 if "one" in text else 0.3) for text in texts]
        return [[0.5 + each, 0.5 - each] for each in share]

    female, _ = gaps(["one woman", "two: a woman"], judge)
    assert female.value == pytest.approx(0.2)
    assert female.high == pytest.approx(0.2 + 1.959964 * 0.1)


def test_texts_without_groups_cannot_be_judged() -> None:
    with pytest.raises(ConfigurationInvalid, match="names a group"):
        gaps(["weather", "one man"], prejudiced)
