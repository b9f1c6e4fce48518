"""How well lines are redacted: counts by type, and their precision, recall and F2."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from llmcloud.api.dataset import Entity
from llmcloud_data.redaction import FINDERS, redacted
from tests.support.corpus import Line

ENTITIES: tuple[Entity, ...] = get_args(Entity)
RESAMPLES = 1000

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A share and its 95 % interval, by resampling documents."""

    value: float
    low: float
    high: float


def judge(document: list[Line]) -> Counts:
    """For each type: found, put wrongly, missed; shape (types, 3).

    A line counts as found only if it is exactly what is expected.
    """
    text = "\n".join(line.text for line in document)
    results = redacted(text, ENTITIES, Counter()).split("\n")
    counts = np.zeros((len(ENTITIES), 3))
    for line, result in zip(document, results, strict=True):
        if line.entity is not None:
            right = result == line.expected
            counts[ENTITIES.index(line.entity), 0 if right else 2] += 1
            if right:
                continue
        for number, entity in enumerate(ENTITIES):
            counts[number, 1] += result.count(FINDERS[entity][0])
    return counts


def scores(documents: Iterable[list[Line]]) -> dict[Entity, dict[str, Score]]:
    """Precision, recall and F2 of each type."""
    counts = np.stack([judge(document) for document in documents])
    dice = np.random.Generator(np.random.PCG64(0))
    draws = dice.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
    samples = np.tensordot(draws, counts, axes=1)
    whole = counts.sum(axis=0)
    return {
        entity: {
            name: Score(
                float(share(whole[number])),
                *np.percentile(share(samples[:, number]), [2.5, 97.5]).tolist(),
            )
            for name, share in {"precision": _precision, "recall": _recall, "f2": _f2}.items()
        }
        for number, entity in enumerate(ENTITIES)
    }


def _precision(counts: Counts) -> Counts:
    found, wrong, _ = np.moveaxis(counts, -1, 0)
    share: Counts = found / np.maximum(1, found + wrong)
    return share


def _recall(counts: Counts) -> Counts:
    found, _, missed = np.moveaxis(counts, -1, 0)
    share: Counts = found / np.maximum(1, found + missed)
    return share


def _f2(counts: Counts) -> Counts:
    """C. J. van Rijsbergen's F with recall twice as important: 5 PR / (4 P + R)."""
    found, wrong, missed = np.moveaxis(counts, -1, 0)
    share: Counts = 5 * found / np.maximum(1, 5 * found + wrong + 4 * missed)
    return share
