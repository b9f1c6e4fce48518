"""Documents: one file, one text. Which are rejected, which are held out, and their text in pieces.

Text is never whole in memory: it is read in pieces cut at line ends. A byte-order mark is
dropped and line ends become newlines; that is how text is read here, not a reason to reject it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmcloud_data.sources import SourceFile

PIECE_CHARACTERS: Final = 1024 * 1024
HASH_RANGE: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Split:
    """Documents in the order of their keys, and how many were left out for which reason."""

    train: list[SourceFile]
    validation: list[SourceFile]
    rejected: dict[str, int]


def split(files: Iterable[SourceFile], validation_fraction: float) -> Split:
    """Sort out what is no text, then hold out by document hash."""
    rejected: Counter[str] = Counter()
    kept = []
    for source in files:
        reason = rejection(source.file)
        if reason is None:
            kept.append(source)
        else:
            rejected[reason] += 1
    hashes = held_out([source.entry.sha256 for source in kept], validation_fraction)
    return Split(
        train=[source for source in kept if source.entry.sha256 not in hashes],
        validation=[source for source in kept if source.entry.sha256 in hashes],
        rejected=dict(sorted(rejected.items())),
    )


def held_out(hashes: Sequence[str], fraction: float) -> frozenset[str]:
    """The SHA-256 (hex) of the documents held out.

    A document's fate depends on its own hash alone, so it stays where it was when others come or
    go; copies stay together. Where the hashes held out none (or all) of at least two different
    documents, the lowest hash is held out (or the highest is not).
    """
    different = sorted(set(hashes))
    if fraction <= 0 or len(different) < 2:
        return frozenset()
    limit = fraction * HASH_RANGE
    below = [value for value in different if int(value[:16], 16) < limit]
    below = below or different[:1]
    return frozenset(below if len(below) < len(different) else different[:-1])


def rejection(file: Path) -> str | None:
    """Why a file is no document: `invalidUtf8`, `empty`; None if it is one."""
    empty = True
    try:
        for piece in pieces(file):
            empty = empty and not piece.strip()
    except UnicodeDecodeError:
        return "invalidUtf8"
    return "empty" if empty else None


def pieces(file: Path) -> Iterator[str]:
    """The text of a file in pieces of about PIECE_CHARACTERS, cut after a line end if one is there.

    Raises UnicodeDecodeError.
    """
    rest = ""
    with file.open(encoding="utf-8-sig", newline=None) as text:
        while part := text.read(PIECE_CHARACTERS):
            cut = part.rfind("\n") + 1
            if cut:
                yield rest + part[:cut]
                rest = part[cut:]
            else:
                yield rest + part
                rest = ""
    if rest:
        yield rest
