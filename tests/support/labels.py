"""Real records with real labels: from Python's library and the installed gettext catalogues."""

import gettext
import io
import keyword
import random
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

Record = dict[str, Any]
LIBRARY: Final = Path(sysconfig.get_paths()["stdlib"])
LOCALES: Final = Path("/usr/share/locale")
PACKAGES: Final = (
    "asyncio", "ctypes", "distutils", "email", "idlelib", "json",
    "lib2to3", "logging", "multiprocessing", "tkinter", "unittest", "xml",
)  # fmt: skip
PASSAGE_CHARACTERS: Final = 160
QUESTION_CHARACTERS: Final = 40
TAGS: Final = ("CALL", "COMMENT", "KEYWORD", "NAME", "NUMBER", "OP", "STRING")
SENTENCE_TOKENS: Final = 24
SEEN_TOKENS: Final = 15
SHORTEST: Final = 4


def modules(package: str = "") -> list[str]:
    """The sources of a package of the standard library, or of its single modules."""
    files = sorted((LIBRARY / package).rglob("*.py") if package else LIBRARY.glob("*.py"))
    return [
        file.read_text(encoding="utf-8", errors="ignore")
        for file in files
        if not {"test", "tests", "idle_test"} & set(file.parts)
    ]


def translations(source: str, target: str, most_characters: int) -> list[Record]:
    """Messages of the installed gettext catalogues that two languages share (type pairs)."""
    one, other = _messages(source), _messages(target)
    pairs = sorted({(one[key], other[key]) for key in one.keys() & other.keys()})
    return [
        {"source": given, "target": wanted}
        for given, wanted in pairs
        if SHORTEST <= len(given) <= most_characters and len(wanted) <= 2 * most_characters
    ]


def _messages(language: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted((LOCALES / language / "LC_MESSAGES").glob("*.mo")):
        with file.open("rb") as catalogue:
            messages = gettext.GNUTranslations(catalogue)._catalog  # type: ignore[attr-defined]
        found |= {key: text for key, text in messages.items() if isinstance(key, str) and key}
    return found


def passages(seed: int, most_of_each: int) -> list[Record]:
    """Passages of source code that do not overlap, and the package that they are of (type
    labeled)."""
    dice = random.Random(seed)
    records = []
    for package in PACKAGES:
        found = list(_cut("\n".join(modules(package)), PASSAGE_CHARACTERS))
        chosen = dice.sample(found, min(len(found), most_of_each))
        records += [{"text": passage, "label": package} for passage in chosen]
    dice.shuffle(records)
    return records


def questions(package: str) -> list[Record]:
    """Beginnings of passages of a package, and how they go on (type chat)."""
    return [
        {
            "messages": [
                {"role": "user", "content": passage[:QUESTION_CHARACTERS]},
                {"role": "assistant", "content": passage[QUESTION_CHARACTERS:]},
            ]
        }
        for text in modules(package)
        for passage in _cut(text, PASSAGE_CHARACTERS)
    ]


def _cut(text: str, characters: int) -> Iterator[str]:
    """Whole pieces of a text, one after the other."""
    for start in range(0, len(text) - characters + 1, characters):
        yield text[start : start + characters]


def tagged_code(seed: int, most: int) -> list[Record]:
    """Runs of Python's tokens and their classes (type tags): those of the module tokenize, with
    keywords and names that are called told apart."""
    runs = [run for text in modules() for run in _runs(text)]
    random.Random(seed).shuffle(runs)
    return runs[:most]


def following(seed: int, most: int) -> list[Record]:
    """Some of Python's tokens and the class of the one that follows (type labeled)."""
    return [
        {"text": " ".join(run["tokens"][-SEEN_TOKENS - 1 : -1]), "label": run["tags"][-1]}
        for run in tagged_code(seed, most)
    ]


def _runs(text: str) -> Iterator[Record]:
    try:
        found = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return
    words = [token for token in found if token.string.strip()]
    tags = [
        _tag(token, words[place + 1].string if place + 1 < len(words) else "")
        for place, token in enumerate(words)
    ]
    for start in range(0, len(words) - SENTENCE_TOKENS, SENTENCE_TOKENS):
        part = slice(start, start + SENTENCE_TOKENS)
        yield {"tokens": [token.string[:40] for token in words[part]], "tags": tags[part]}


def _tag(token: tokenize.TokenInfo, following: str) -> str:
    if token.type == tokenize.NAME:
        if keyword.iskeyword(token.string):
            return "KEYWORD"
        return "CALL" if following == "(" else "NAME"
    name = tokenize.tok_name[token.type]
    return name if name in TAGS else "OP"
