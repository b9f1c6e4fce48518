"""Texts with planted copies and near copies whose true similarity is known."""

import random
from dataclasses import dataclass
from pathlib import Path

from llmcloud.api.dataset import Deduplicate, NearDuplicates, Prepare
from llmcloud_data.merging import GONE
from llmcloud_data.words import simple_words
from tests.support.preparation import as_lines, prepare_lines

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
        near[len(texts) - 1] = similarity(*texts[-2:])
        if number % 10 == 0:
            copies.add(len(texts))
            texts.append("  ".join(words) + "\n")
    return Planted(texts, copies, near)


def remove(corpus: Planted, threshold: float, folder: Path) -> Removed:
    """Run both steps over the texts, which lie in three parts."""
    near = NearDuplicates(similarity_percent=round(threshold * 100))
    steps = Prepare(deduplicate=Deduplicate(near=near))
    third = len(corpus.texts) // 3 + 1
    parts = [corpus.texts[start : start + third] for start in range(0, len(corpus.texts), third)]
    prepared = prepare_lines([as_lines(part) for part in parts], steps, folder)
    gone = {number for number, state in enumerate(prepared.states) if state == GONE}
    alike = {n for n, s in corpus.near.items() if s >= threshold + 0.05}
    apart = {m for n, s in corpus.near.items() if s <= threshold - 0.1 for m in (n - 1, n)}
    return Removed(
        copies=len(gone & corpus.copies) / len(corpus.copies),
        alike=len(alike & gone) / len(alike),
        apart=len(apart & gone) / len(apart),
    )


def similarity(one: str, two: str) -> float:
    """Jaccard similarity of the sets of five-word runs, from the words themselves."""
    runs = []
    for text in (one, two):
        words = simple_words(text)
        runs.append({tuple(words[n : n + 5]) for n in range(len(words) - 4)})
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])
