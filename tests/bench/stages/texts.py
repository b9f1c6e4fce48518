"""Documents of which it is plain what each stage has to do, whoever wrote it.

English words, because datatrove takes all numbers for one. Of ten documents one is a copy, one a
near copy (one word of 400 is another: J > 0.95), one repeats a line; all others share next to
nothing. One of five names an e-mail and an IPv4 address.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from faker import Faker

DOCUMENT_WORDS: Final = 400
LINE_WORDS: Final = 12
REPEATED_LINES: Final = 40
FILE: Final = "documents.jsonl"


def write(folder: Path, count: int, seed: int) -> list[str]:
    """Write `count` texts into `FILE` of `folder`, one JSON line each."""
    texts = list(_texts(count, seed))
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (folder / FILE).write_text("".join(lines), encoding="utf-8")
    return texts


def _texts(count: int, seed: int) -> Iterator[str]:
    dice = random.Random(seed)
    vocabulary = Faker("en_US").get_words_list()
    words: list[str] = []
    for number in range(count):
        match number % 10:
            case 4:
                pass
            case 6:
                words = list(words)
                words[dice.randrange(DOCUMENT_WORDS)] = dice.choice(vocabulary)
            case 8:
                line = " ".join(dice.choices(vocabulary, k=LINE_WORDS))
                yield "\n".join([line] * REPEATED_LINES)
                continue
            case _:
                words = dice.choices(vocabulary, k=DOCUMENT_WORDS)
        yield _lines(words, _contact(words) if number % 5 == 0 else None)


def _contact(words: list[str]) -> str:
    host = f"81.{100 + len(words[0])}.{100 + len(words[1])}.{100 + len(words[2])}"
    return f"Write to {words[0]}.{words[1]}@{words[2]}.com from {host}"


def _lines(words: list[str], last: str | None) -> str:
    """Sentences of `LINE_WORDS`, each a line."""
    lines = [
        " ".join(words[start : start + LINE_WORDS]).capitalize() + "."
        for start in range(0, len(words), LINE_WORDS)
    ]
    return "\n".join(lines if last is None else [*lines, last])
