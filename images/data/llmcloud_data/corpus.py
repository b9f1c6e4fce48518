"""The corpus: documents of all sources, cleaned, each text once, redacted, and split in two."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmcloud.api.dataset import Prepare
from llmcloud_data.cleaning import normalised, unfit
from llmcloud_data.documents import (
    DIGEST,
    Digests,
    Document,
    Mask,
    Rejections,
    document_digest,
    held_out,
    read_documents,
)
from llmcloud_data.duplicates import exact_duplicates
from llmcloud_data.examples import Example, Shape, decoded
from llmcloud_data.near_duplicates import NearDuplicates
from llmcloud_data.redaction import redacted
from llmcloud_data.rejections import Rejection
from llmcloud_data.sources import SourceFile
from llmcloud_data.spool import Spool


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents kept, in their order; how many were left out, and what was redacted.

    The spools hold them as `Example.encoded` does.
    """

    shape: Shape
    train: Spool
    validation: Spool
    read: int
    rejected: dict[str, int]
    redacted: dict[str, int]

    def texts(self) -> Iterator[str]:
        """What a tokenizer is trained on."""
        return (decoded(self.shape.type, line).text for line in self.train)


@contextmanager
def build_corpus(
    files: Iterable[SourceFile],
    shape: Shape,
    steps: Prepare,
    folder: Path,
    advance: Callable[[int], None],
) -> Iterator[Corpus]:
    """Read all files, removing each when it is read; `advance` hears of its bytes.

    Disk holds the texts at most twice. Memory holds 48 bytes for each document, and while near
    duplicates are sought 24 more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rejections = Rejections()
    documents = read_documents(_removed(files, advance), shape, rejections)
    with Spool(folder / "train") as train, Spool(folder / "validation") as validation:
        with Spool(folder / "read") as texts:
            kept, digests = _kept(documents, shape, steps, texts, folder, rejections)
            is_held_out = held_out(digests, steps.split.validation_fraction)
            redactions: Counter[str] = Counter()
            entities = steps.redact.entities if steps.redact is not None else []

            def replaced(part: str) -> str:
                return redacted(part, entities, redactions)

            for number, out in zip(kept, is_held_out, strict=True):
                example = decoded(shape.type, texts[number]).mapped(replaced)
                (validation if out else train).append(example.encoded())
        rejected = rejections.counts()
        read = len(kept) + sum(rejected.values())
        yield Corpus(shape, train, validation, read, rejected, dict(sorted(redactions.items())))


def _kept(
    documents: Iterable[Document],
    shape: Shape,
    steps: Prepare,
    texts: Spool,
    folder: Path,
    rejections: Rejections,
) -> tuple[list[int], Digests]:
    """Put the documents that are fit into `texts`; the numbers of those to keep, and digests."""
    near_step = steps.deduplicate.near if steps.deduplicate is not None else None
    with ExitStack() as stack:
        near = None
        if near_step is not None:
            near = NearDuplicates(folder, near_step.similarity_percent / 100)
            stack.enter_context(near)
        digests = bytearray()
        for example in _fit(documents, steps, rejections):
            texts.append(example.encoded())
            digests += document_digest(example)
            if near is not None:
                near.add(example.text)
        hashes: Digests = np.frombuffer(digests, dtype=DIGEST)
        gone: Mask = np.zeros(len(texts), dtype=np.bool_)
        if steps.deduplicate is not None and steps.deduplicate.exact:
            gone = exact_duplicates(hashes)
            rejections.add_copies(Rejection.DUPLICATE, int(gone.sum()))
        if near is not None:
            alike = near.duplicates(lambda number: decoded(shape.type, texts[number]).text, gone)
            rejections.add_copies(Rejection.NEAR_DUPLICATE, int(alike.sum()))
            gone = gone | alike
    return np.flatnonzero(~gone).tolist(), hashes[~gone]


def _fit(
    documents: Iterable[Document], steps: Prepare, rejections: Rejections
) -> Iterator[Example]:
    """The documents that cleaning leaves, each in its normal form."""
    for document in documents:
        if steps.clean is None:
            yield document.example
            continue
        example = document.example.mapped(normalised)
        reason = (
            Rejection.EMPTY if example.blank else unfit(example.text, document.format, steps.clean)
        )
        if reason is None:
            yield example
        else:
            rejections.add(reason, document.id)


def _removed(files: Iterable[SourceFile], advance: Callable[[int], None]) -> Iterator[SourceFile]:
    for source in files:
        yield source
        source.file.unlink()
        advance(source.entry.bytes)
