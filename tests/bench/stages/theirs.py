"""datatrove's stages, as `ours` runs ours, in an environment that has nothing of ours.

`--plain-words` takes its word tokenizer away, spaCy's, and splits at white space.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

from datatrove.data import Document
from datatrove.pipeline.dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherRepetitionFilter, gopher_repetition_filter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from loguru import logger

FILE = "documents.jsonl"
END_OF_TEXT = "<|endoftext|>"
READS = 20
"""Of the same file: one is read too quickly to be measured."""
Stage = Callable[[], int]


class PlainWords:
    """datatrove's word tokenizer, less the linguistics."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def documents(folder: Path) -> list[Any]:
    texts = (json.loads(line)["text"] for line in (folder / FILE).open(encoding="utf-8"))
    return [Document(text=text, id=str(number)) for number, text in enumerate(texts)]


def counted(documents: Iterable[Any]) -> int:
    return sum(1 for _ in documents)


def read(folder: Path, plain: bool) -> Stage:
    reader = JsonlReader(str(folder), glob_pattern=FILE)
    counted(JsonlReader(str(folder), glob_pattern=FILE, limit=1).run())  # loads what it needs
    return lambda: sum(counted(reader.run()) for _ in range(READS))


def repetition(folder: Path, plain: bool) -> Stage:
    given, step = documents(folder), GopherRepetitionFilter()
    if plain:
        gopher_repetition_filter.split_into_words = lambda text, language: text.split()
    else:
        gopher_repetition_filter.split_into_words("spaCy is loaded", "en")
    return lambda: counted(step.run(iter(given)))


def exact(folder: Path, plain: bool) -> Stage:
    given = documents(folder)

    def content(document: Any) -> str:
        return " ".join(document.text.split())

    config = ExactDedupConfig(content_getter=content)
    signatures, found = str(folder / "signatures"), str(folder / "found")

    def kept() -> int:
        ExactDedupSignature(signatures, config).run(iter(given))
        ExactFindDedups(signatures, found, config).run()
        return counted(ExactDedupFilter(found, config).run(iter(given)))

    return kept


def near(folder: Path, plain: bool) -> Stage:
    """As many hashes as ours, in bands of as many rows."""
    given, config = documents(folder), MinhashConfig(num_buckets=20, hashes_per_bucket=6)
    signatures, pairs, found = (str(folder / name) for name in ("minhash", "pairs", "remove"))
    first = MinhashDedupSignature(signatures, config)
    if plain:
        first.word_tokenizer = PlainWords()
    else:
        first.word_tokenizer.word_tokenize("spaCy is loaded")

    def kept() -> int:
        first.run(iter(given))
        for bucket in range(config.num_buckets):
            MinhashDedupBuckets(signatures, pairs, config=config).run(
                None, bucket, config.num_buckets
            )
        MinhashDedupCluster(pairs, found, config).run()
        return counted(MinhashDedupFilter(found).run(iter(given)))

    return kept


def redact(folder: Path, plain: bool) -> Stage:
    given, step = documents(folder), PIIFormatter()
    before = [document.text for document in given]

    def changed() -> int:
        after = step.run(iter(given))
        return sum(new.text != old for new, old in zip(after, before, strict=True))

    return changed


def tokenize(folder: Path, plain: bool) -> Stage:
    given = documents(folder)
    step = DocumentTokenizer(
        str(folder / "tokens"),
        str(folder / "tokenizer.json"),
        eos_token=END_OF_TEXT,
        shuffle_documents=False,
    )
    assert step.tokenizer.get_vocab_size()

    def written() -> int:
        step.run(iter(given))
        files = list((folder / "tokens").glob("*.ds"))
        return sum(file.stat().st_size for file in files) // int(step.token_size)

    return written


STAGES = {"read": read, "repetition": repetition, "exact": exact, "near": near, "redact": redact,
          "tokenize": tokenize}  # fmt: skip


def main() -> None:
    logger.remove()
    stage = STAGES[sys.argv[1]](Path(sys.argv[2]), "--plain-words" in sys.argv[3:])
    began = time.process_time()
    out = stage()
    print(json.dumps({"seconds": time.process_time() - began, "out": out}))


if __name__ == "__main__":
    main()
