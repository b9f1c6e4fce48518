"""The corpus: documents of all sources, prepared, and split in two."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmcloud.api.dataset import Prepare
from llmcloud_data.documents import (
    DIGEST,
    Digests,
    Rejections,
    held_out,
    read_documents,
    text_digest,
)
from llmcloud_data.sources import SourceFile
from llmcloud_data.spool import Spool


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents kept, in their order, and how many were left out for which reason."""

    train: Spool
    validation: Spool
    rejected: dict[str, int]


@contextmanager
def build_corpus(
    files: Iterable[SourceFile], steps: Prepare, folder: Path, advance: Callable[[int], None]
) -> Iterator[Corpus]:
    """Read all files, removing each when it is read; `advance` hears of its bytes.

    Disk holds the texts at most twice. Memory holds 48 bytes for each document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Spool(folder / "train") as train, Spool(folder / "validation") as validation:
        with Spool(folder / "read") as texts:
            digests, rejected = _read(files, texts, advance)
            is_held_out = held_out(digests, steps.split.validation_fraction)
            for number, text in enumerate(texts):
                (validation if is_held_out[number] else train).append(text)
        yield Corpus(train, validation, rejected)


def _read(
    files: Iterable[SourceFile], texts: Spool, advance: Callable[[int], None]
) -> tuple[Digests, dict[str, int]]:
    rejections = Rejections()
    digests = bytearray()
    for document in read_documents(_removed(files, advance), rejections):
        texts.append(document.text)
        digests += text_digest(document.text)
    return np.frombuffer(digests, dtype=DIGEST), rejections.counts()


def _removed(files: Iterable[SourceFile], advance: Callable[[int], None]) -> Iterator[SourceFile]:
    for source in files:
        yield source
        source.file.unlink()
        advance(source.entry.bytes)
