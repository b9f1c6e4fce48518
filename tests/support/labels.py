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
TAGS: Final = ("CALL", "COMMENT", "KEYWORD", "NAME", "NUMBER", "OP", "STRING")
SENTENCE_TOKENS: Final = 24
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


def passages(seed: int, per_package: int) -> list[Record]:
    """Passages of source code and the package that they are of (type labeled)."""
    dice = random.Random(seed)
    records = []
    for package in PACKAGES:
        text = "\n".join(modules(package))
        for _ in range(per_package):
            start = dice.randrange(max(1, len(text) - PASSAGE_CHARACTERS))
            records.append({"text": text[start : start + PASSAGE_CHARACTERS], "label": package})
    dice.shuffle(records)
    return records


def tagged_code(seed: int, most: int) -> list[Record]:
    """Runs of Python's tokens and their classes (type tags): those of the module tokenize, with
    keywords and names that are called told apart."""
    runs = [run for text in modules() for run in _runs(text)]
    random.Random(seed).shuffle(runs)
    return runs[:most]


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
