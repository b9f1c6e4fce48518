"""Repetition within a document, by the rules of Gopher.

J. W. Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
2021, table A1: a document is left out if too large a share of its lines, paragraphs or
characters repeats. A run of words that occurs once does not repeat, which the paper leaves
open for the most frequent one.
"""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from llmcloud_data.words import Hashes, run_hashes, word_hashes

DUPLICATE_LINES: Final = 0.30
DUPLICATE_PARAGRAPHS: Final = 0.30
DUPLICATE_LINE_CHARACTERS: Final = 0.20
DUPLICATE_PARAGRAPH_CHARACTERS: Final = 0.20
TOP_RUNS: Final = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_RUNS: Final = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

_PARAGRAPH_END: Final = re.compile(r"\n{2,}")


def repeats(text: str) -> bool:
    """True if any share is above its limit."""
    characters = len(text)
    lines = [line for line in text.split("\n") if line]
    paragraphs = _PARAGRAPH_END.split(text.strip())
    if (
        _repeat(lines, characters, DUPLICATE_LINES, DUPLICATE_LINE_CHARACTERS)
        or _repeat(paragraphs, characters, DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARACTERS)
    ):  # fmt: skip
        return True
    words = text.split()
    hashes = word_hashes(words)
    lengths = np.fromiter(map(len, words), dtype=np.int64)
    return any(
        _top_characters(hashes, lengths, run) > limit * characters
        for run, limit in TOP_RUNS.items()
    ) or any(
        _duplicate_characters(hashes, lengths, run) > limit * characters
        for run, limit in DUPLICATE_RUNS.items()
    )


def _repeat(parts: Sequence[str], characters: int, count_limit: float, limit: float) -> bool:
    """Whether too many parts, or too many characters, are in copies of earlier parts."""
    seen = set(parts)
    copies = len(parts) - len(seen)
    copied = sum(map(len, parts)) - sum(map(len, seen))
    return copies > count_limit * len(parts) or copied > limit * characters


def _top_characters(hashes: Hashes, lengths: np.ndarray, run: int) -> int:
    """Characters within the most frequent run of `run` words, spaces included."""
    if len(hashes) < run:
        return 0
    _, first, counts = np.unique(run_hashes(hashes, run), return_index=True, return_counts=True)
    top = counts.max()
    if top == 1:
        return 0
    starts = first[counts == top]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return int(top * ((ends[starts + run] - ends[starts]).max() + run - 1))


def _duplicate_characters(hashes: Hashes, lengths: np.ndarray, run: int) -> int:
    """Characters of the words within any run that occurs more than once, none counted twice."""
    if len(hashes) < run:
        return 0
    _, which, counts = np.unique(run_hashes(hashes, run), return_inverse=True, return_counts=True)
    starts = np.flatnonzero(counts[which] > 1)
    change = np.zeros(len(hashes) + 1, dtype=np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, starts + run, -1)
    return int(lengths[np.cumsum(change[:-1]) > 0].sum())
