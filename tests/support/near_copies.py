"""Texts with planted copies and near copies whose true similarity is known."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmcloud_data.documents import DIGEST, text_digest
from llmcloud_data.duplicates import exact_duplicates
from llmcloud_data.near_duplicates import NearDuplicates
from llmcloud_data.spool import Spool
from llmcloud_data.words import simple_words

WORDS = [f"word{number}" for number in range(20_000)]
DOCUMENT_WORDS = 200
CHANGES = 40


@dataclass(frozen=True)
class Planted:
    """Texts, which are exact copies, and which are near copies of the text before, how near."""

    texts: list[str]
    copies: set[int]
    near: dict[int, float]


@dataclass(frozen=True)
class Removed:
    """Shares: of exact copies; of near copies at least 0.05 above the threshold; of documents at
    least 0.1 below it."""

    copies: float
    alike: float
    apart: float


def planted(count: int, seed: int) -> Planted:
    """`count` originals, each with a near copy, and every tenth with an exact copy."""
    dice = random.Random(seed)
    texts: list[str] = []
    copies: set[int] = set()
    near: dict[int, float] = {}
    for number in range(count):
        words = dice.choices(WORDS, k=DOCUMENT_WORDS)
        changed = list(words)
        for place in dice.sample(range(DOCUMENT_WORDS), number % CHANGES + 1):
            changed[place] = dice.choice(WORDS)
        texts += [" ".join(words), " ".join(changed)]
        near[len(texts) - 1] = _similarity(*texts[-2:])
        if number % 10 == 0:
            copies.add(len(texts))
            texts.append("  ".join(words) + "\n")
    return Planted(texts, copies, near)


def remove(corpus: Planted, threshold: float, folder: Path) -> Removed:
    """Run both steps over the texts."""
    digests = np.array([text_digest(text) for text in corpus.texts], dtype=DIGEST)
    exact = exact_duplicates(digests)
    with Spool(folder / "texts") as spool, NearDuplicates(folder, threshold) as near:
        for text in corpus.texts:
            spool.append(text)
            near.add(text)
        gone = set(np.flatnonzero(near.duplicates(spool.__getitem__, exact)).tolist())
    alike = {n for n, s in corpus.near.items() if s >= threshold + 0.05}
    apart = {m for n, s in corpus.near.items() if s <= threshold - 0.1 for m in (n - 1, n)}
    copies = set(np.flatnonzero(exact).tolist())
    return Removed(
        copies=len(copies & corpus.copies) / len(corpus.copies),
        alike=len(alike & gone) / len(alike),
        apart=len(apart & gone) / len(apart),
    )


def _similarity(one: str, two: str) -> float:
    runs = []
    for text in (one, two):
        words = simple_words(text)
        runs.append({tuple(words[n : n + 5]) for n in range(len(words) - 4)})
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])
