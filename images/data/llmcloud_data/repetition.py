"""Repetition within a document, by the rules of Gopher.

J. W. Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
2021, table A1: a document is left out if too large a share of its lines, paragraphs or
characters repeats. A run of words that occurs once does not repeat, which the paper leaves
open for the most frequent one.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmcloud_data.words import Hashes, longer_runs, run_hashes, word_hashes

DUPLICATE_LINES: Final = 0.30
DUPLICATE_PARAGRAPHS: Final = 0.30
DUPLICATE_LINE_CHARACTERS: Final = 0.20
DUPLICATE_PARAGRAPH_CHARACTERS: Final = 0.20
TOP_RUNS: Final = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_RUNS: Final = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

Places = NDArray[np.int64]

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
    lengths = np.fromiter(map(len, words), dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    for run, starts, which, counts in _repeated_runs(word_hashes(words), max(DUPLICATE_RUNS)):
        if run in TOP_RUNS:
            copied, limit = _top_characters(ends, run, starts, which, counts), TOP_RUNS[run]
        else:
            copied, limit = _covered_characters(lengths, run, starts), DUPLICATE_RUNS[run]
        if copied > limit * characters:
            return True
    return False


def _repeat(parts: Sequence[str], characters: int, count_limit: float, limit: float) -> bool:
    """Whether too many parts, or too many characters, are in copies of earlier parts."""
    seen = set(parts)
    copies = len(parts) - len(seen)
    copied = sum(map(len, parts)) - sum(map(len, seen))
    return copies > count_limit * len(parts) or copied > limit * characters


def _repeated_runs(hashes: Hashes, longest: int) -> Iterator[tuple[int, Places, Places, Places]]:
    """The runs of 2, 3, ... `longest` words that occur more than once, as far as there are any.

    Of each length: the places where such runs start, which run each is, and how often each of
    these occurs. A run repeats only where the one that is a word shorter does.
    """
    starts = np.arange(len(hashes))
    runs = run_hashes(hashes, 1)
    for length in range(2, longest + 1):
        within = starts <= len(hashes) - length
        starts = starts[within]
        runs = longer_runs(runs[within], hashes[starts + length - 1])
        _, which, counts = np.unique(runs, return_inverse=True, return_counts=True)
        repeated = counts[which] > 1
        starts, runs = starts[repeated], runs[repeated]
        if not len(starts):
            return
        yield length, starts, which[repeated], counts


def _top_characters(ends: Places, run: int, starts: Places, which: Places, counts: Places) -> int:
    """Characters within the most frequent run of `run` words, spaces included."""
    top = counts.max()
    starts = starts[counts[which] == top]
    return int(top * ((ends[starts + run] - ends[starts]).max() + run - 1))


def _covered_characters(lengths: Places, run: int, starts: Places) -> int:
    """Characters of the words within any of the runs, none counted twice."""
    change = np.zeros(len(lengths) + 1, dtype=np.int64)
    change[starts] += 1
    change[starts + run] -= 1
    return int(lengths[np.cumsum(change[:-1]) > 0].sum())
