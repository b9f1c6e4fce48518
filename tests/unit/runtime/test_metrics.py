"""Metrics against examples worked out by hand."""

import math

import pytest
from rouge_score.tokenizers import DefaultTokenizer

from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.errors import LossNotFinite
from llmcloud_runtime.metrics import Words, classification, generation, most_common, perplexity


def test_the_perplexity_of_a_fair_coin_is_two() -> None:
    assert perplexity(10 * math.log(2), 10) == pytest.approx(2.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf, 800.0])
def test_a_loss_that_no_perplexity_can_say_is_refused(loss: float) -> None:
    with pytest.raises(LossNotFinite, match="lower"):
        perplexity(loss, 1)


def test_accuracy_and_macro_f1() -> None:
    # class 0: 2 right, 1 said wrongly, 1 missed: 4/6; class 1: 1 right, 1, 1: 2/4; class 2: all.
    found = classification([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 2])
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["f1"] == pytest.approx((4 / 6 + 2 / 4 + 1) / 3)


def test_a_class_that_is_never_said_counts_as_zero() -> None:
    # Always class 0 of three: 2 * 2 / (3 + 2) = 0.8, and nothing for the class that was meant.
    assert classification([0, 0, 0], [0, 0, 1])["f1"] == pytest.approx((0.8 + 0) / 2)


def test_rouge_counts_words_pairs_and_the_longest_common_sequence() -> None:
    # "the cat sat" against "the cat ate fish": words 2 of 3 and of 4, pairs 1 of 2 and of 3,
    # longest common sequence "the cat".
    found = generation(["the cat sat"], ["the cat ate fish"])
    assert found["rouge1"] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert found["rouge2"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert found["rougeL"] == found["rouge1"]


def test_rouge_is_the_mean_over_the_examples() -> None:
    assert generation(["a", "b"], ["a", "c"])["rouge1"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat, sat_on 2 mats!", ["the", "cat", "sat", "on", "2", "mats"]),
        ("\u0421\u0440\u0431\u0438\u0458\u0430 je", ["\u0441\u0440\u0431\u0438\u0458\u0430", "je"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
        ("cafe\u0301s", ["cafe\u0301s"]),
    ],
)
def test_rouge_reads_every_script(text: str, words: list[str]) -> None:
    assert Words().tokenize(text) == words
    assert generation([text], [text])["rouge1"] == 1.0


def test_in_ascii_words_are_those_of_rouge_score() -> None:
    text = "It's a well-known fact: snake_case, 3.14 & e-mail@host!"
    assert Words().tokenize(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


def test_bleu_by_hand() -> None:
    # Precisions of 1- to 4-grams: 5/6, 4/5, 3/4, 2/3; as long as the reference: no penalty.
    found = generation(["the cat is on the rug"], ["the cat is on the mat"])
    assert found["bleu"] == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)


def test_bleu_punishes_what_is_too_short() -> None:
    # All n-grams are right, and 5 words stand against 6: exp(1 - 6/5).
    found = generation(["the cat is on the"], ["the cat is on the mat"])
    assert found["bleu"] == pytest.approx(100 * math.exp(1 - 6 / 5))


def test_of_equally_common_values_the_first_by_name_is_taken() -> None:
    assert most_common(["b", "a", "b", "a", "c"]) == "a"


def test_held_out_data_without_anything_to_predict_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="nothing to predict"):
        perplexity(0.0, 0)
