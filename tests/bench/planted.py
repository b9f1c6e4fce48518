"""A corpus of any size, made by seed, of which is known what is to become of every document.

Texts of drawn words; copies; near copies whose similarity is reckoned; and in each text a line of
personal data or a decoy, from the part of templates that no rule was tuned on.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from llmcloud.cloud.base import Store
from tests.support.corpus import Line, documents
from tests.support.near_copies import CHANGES, DOCUMENT_WORDS, similarity

OBJECT_BYTES: Final = 16 * 1024 * 1024
SOURCE_DOCUMENTS: Final = 5000
VOCABULARY: Final = 20_000
SYLLABLES: Final = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"]
ALIKE: Final = 0.85
APART: Final = 0.70


class Fate(IntEnum):
    """What a document is beside the others."""

    ALONE = 0
    FIRST = 1
    """Has copies, or near copies above `APART`; it comes before them."""
    COPY = 2
    ALIKE = 3
    """A near copy of at least `ALIKE`."""
    BETWEEN = 4
    """A near copy between `APART` and `ALIKE`: either is right."""
    APART = 5
    """One of a pair whose similarity, the best of both, is at most `APART`."""


@dataclass
class Planted:
    """Of all documents in order: fates, and types of the personal data in them ("" for none)."""

    bytes: int = 0
    fates: bytearray = field(default_factory=bytearray)
    entities: list[str] = field(default_factory=list)

    def counts(self) -> Counter[int]:
        return Counter(self.fates)


def write_corpus(store: Store, corpus_bytes: int, seed: int) -> Planted:
    """Write JSON lines into objects of `OBJECT_BYTES` below `raw/`."""
    planted = Planted()
    body: list[bytes] = []
    held_bytes = number = 0

    def flush() -> None:
        nonlocal held_bytes, number
        store.put(f"raw/{number:05d}.jsonl", b"".join(body))
        body.clear()
        held_bytes, number = 0, number + 1

    for text, fate, entity in _texts(seed):
        line = json.dumps({"text": text}).encode() + b"\n"
        body.append(line)
        held_bytes += len(line)
        planted.bytes += len(line)
        planted.fates.append(fate)
        planted.entities.append(entity)
        if held_bytes >= OBJECT_BYTES:
            flush()
        if planted.bytes >= corpus_bytes and fate is Fate.ALONE:  # no pair is cut in two
            break
    if body:
        flush()
    return planted


def _texts(seed: int) -> Iterator[tuple[str, Fate, str]]:
    """Endless."""
    dice = random.Random(seed)
    lines = [line for document in documents("test", SOURCE_DOCUMENTS, seed) for line in document]
    vocabulary = _vocabulary(dice)
    number = 0
    while True:
        words, line = dice.choices(vocabulary, k=DOCUMENT_WORDS), dice.choice(lines)
        text, entity = _text(words, line), line.entity or ""
        number += 1
        match number % 10:
            case 3:
                yield text, Fate.FIRST, entity
                yield _text(words, line, space="  "), Fate.COPY, entity
            case 5 | 7:
                other = _text(_changed(words, vocabulary, dice), line)
                first, second = _pair(similarity(text, other))
                yield text, first, entity
                yield other, second, entity
            case _:
                yield text, Fate.ALONE, entity


def _text(words: list[str], line: Line, space: str = " ") -> str:
    return space.join(words) + "\n" + line.text


def _vocabulary(dice: random.Random) -> list[str]:
    """Words of two to five syllables, as often each."""
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        words["".join(dice.choices(SYLLABLES, k=dice.randrange(2, 6)))] = None
    return list(words)


def _changed(words: list[str], vocabulary: list[str], dice: random.Random) -> list[str]:
    changed = list(words)
    for place in dice.sample(range(len(words)), dice.randrange(1, CHANGES + 1)):
        changed[place] = dice.choice(vocabulary)
    return changed


def _pair(likeness: float) -> tuple[Fate, Fate]:
    if likeness >= ALIKE:
        return Fate.FIRST, Fate.ALIKE
    return (Fate.APART, Fate.APART) if likeness <= APART else (Fate.FIRST, Fate.BETWEEN)
