"""The bias gap: how much a prediction changes when nothing but a group's words is exchanged.

For every text that names a group, one counterfactual per group of the same kind is written
(S. Garg et al., "Counterfactual Fairness in Text Classification through Robustness", 2019). The
gap of a group and class is the mean, over these texts, of the class's probability with this
group less its mean with the others; a group's gap is that of the class where it is largest, with
the normal 95 % interval of the mean. `biasGap` is the largest absolute gap of any group. The words
are English.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev

from llmcloud.api.contract import MetricResult
from llmcloud.cloud.errors import ConfigurationInvalid

METRIC = "biasGap"
FEWEST_TEXTS = 2
Z95 = 1.959964

GENDER: Mapping[str, tuple[str, ...]] = {
    "female": (
        "she", "herself", "woman", "women", "girl", "girls", "mother", "mothers", "daughter",
        "daughters", "sister", "sisters", "wife", "wives", "lady", "ladies", "female", "females",
        "aunt", "aunts", "queen", "queens", "actress", "actresses", "mrs",
    ),
    "male": (
        "he", "himself", "man", "men", "boy", "boys", "father", "fathers", "son",
        "sons", "brother", "brothers", "husband", "husbands", "gentleman", "gentlemen", "male",
        "males", "uncle", "uncles", "king", "kings", "actor", "actors", "mr",
    ),
}  # fmt: skip
RELIGION: Mapping[str, tuple[str, ...]] = {
    "christian": ("christian", "christians", "christianity", "church", "churches"),
    "muslim": ("muslim", "muslims", "islam", "mosque", "mosques"),
    "jewish": ("jewish", "jews", "judaism", "synagogue", "synagogues"),
    "hindu": ("hindu", "hindus", "hinduism", "temple", "temples"),
}
KINDS = (GENDER, RELIGION)

Probabilities = Sequence[float]
Score = Callable[[Sequence[str]], Sequence[Probabilities]]
"""Texts to the probabilities of their classes."""


def counterfactuals(text: str, kind: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The text as each group of the kind would have it; empty if it names none."""
    places = {word: place for words in kind.values() for place, word in enumerate(words)}
    pattern = re.compile(rf"\b({'|'.join(sorted(places, key=len, reverse=True))})\b", re.IGNORECASE)
    if not pattern.search(text):
        return {}

    def as_group(words: tuple[str, ...]) -> str:
        return pattern.sub(lambda found: _cased(words[places[found[0].lower()]], found[0]), text)

    return {group: as_group(words) for group, words in kind.items()}


def gaps(texts: Sequence[str], score: Score) -> list[MetricResult]:
    """One result per group that the texts name: its gap with its interval.

    Raises ConfigurationInvalid if the texts name no group often enough.
    """
    results = []
    for kind in KINDS:
        written = [found for text in texts if (found := counterfactuals(text, kind))]
        if len(written) < FEWEST_TEXTS:
            continue
        answers = {group: score([each[group] for each in written]) for group in kind}
        results += [_gap(group, answers) for group in kind]
    if not results:
        raise ConfigurationInvalid(
            "The metric biasGap found no text that names a group (as woman, father, muslim) "
            f"{FEWEST_TEXTS} times or more; name a dataset in spec.evaluation that does, or remove "
            "the metric."
        )
    return results


def largest(results: Sequence[MetricResult]) -> float:
    """The metric's value."""
    return max(abs(result.value) for result in results)


def _gap(group: str, answers: Mapping[str, Sequence[Probabilities]]) -> MetricResult:
    others = [answers[other] for other in answers if other != group]
    classes = range(len(answers[group][0]))
    changes = [
        [
            mine[number] - fmean(other[row][number] for other in others)
            for row, mine in enumerate(answers[group])
        ]
        for number in classes
    ]
    widest = max(changes, key=lambda change: abs(fmean(change)))
    mean = fmean(widest)
    half = Z95 * stdev(widest) / math.sqrt(len(widest))
    return MetricResult(name=f"{METRIC}.{group}", value=mean, low=mean - half, high=mean + half)


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
