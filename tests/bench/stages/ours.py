"""One of our stages: `python -m tests.bench.stages.ours STAGE FOLDER` prints seconds and what
came out. Seconds are of CPU, so that what else the machine does counts for nobody. What a stage
reads lies in memory before the clock starts, as it does for theirs."""

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from llmcloud.api.contract import SourceEntry
from llmcloud.api.dataset import Prepare
from llmcloud_data import shards, tokens
from llmcloud_data.documents import DIGEST, Rejections, read_documents, text_digest
from llmcloud_data.examples import Shape
from llmcloud_data.merging import drop_copies
from llmcloud_data.near_duplicates import BandWriter, join_bands
from llmcloud_data.reading import BANDS, Texts, read_part
from llmcloud_data.redaction import redacted
from llmcloud_data.repetition import repeats
from llmcloud_data.sources import SourceFile
from tests.bench.stages.texts import FILE

SIMILARITY: Final = 0.8
LENGTH: Final = 2048
READS = 20
"""Of the same file: one is read too quickly to be measured."""
Stage = Callable[[], int]


def source(folder: Path) -> SourceFile:
    file = folder / FILE
    entry = SourceEntry(store="raw", key=FILE, bytes=file.stat().st_size, sha256="")
    return SourceFile(entry, file, "jsonl", ("text",))


def texts_of(folder: Path) -> list[str]:
    return [json.loads(line)["text"] for line in (folder / FILE).open(encoding="utf-8")]


def read(folder: Path) -> Stage:
    file = source(folder)
    return lambda: sum(1 for _ in read_documents([file] * READS, Shape(), Rejections()))


def repetition(folder: Path) -> Stage:
    texts = texts_of(folder)
    return lambda: sum(not repeats(text) for text in texts)


def exact(folder: Path) -> Stage:
    texts = texts_of(folder)

    def kept() -> int:
        digests = np.array([text_digest(text) for text in texts], dtype=DIGEST)
        states = np.ones(len(texts), dtype=np.uint8)
        return len(texts) - drop_copies(digests, states, passes=1)

    return kept


def near(folder: Path) -> Stage:
    texts = texts_of(folder)
    part = folder / "part"
    shutil.copy(folder / FILE, folder / "copy")
    copied = replace(source(folder), file=folder / "copy")
    read_part([copied], Shape(), Prepare(), part)

    def kept() -> int:
        with BandWriter(part, SIMILARITY) as bands:
            for text in texts:
                bands.add(text)
            bands.finish(part / BANDS)
        plain, states = Texts(part), np.ones(len(texts), dtype=np.uint8)

        def text_of(number: int) -> str:
            return plain.text("text", number)

        counts = [len(texts)]
        gone = join_bands([part / BANDS], counts, states, text_of, SIMILARITY, 1, folder)
        return len(texts) - gone

    return kept


def redact(folder: Path) -> Stage:
    texts = texts_of(folder)
    return lambda: sum(redacted(text, ["email", "ipAddress"], Counter()) != text for text in texts)


def tokenize(folder: Path) -> Stage:
    texts = texts_of(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def written() -> int:
        stream = tokens.encode(tokenizer, texts, tokens.end_of_text_id(tokenizer))
        sequences = sum(shard.sequences for shard in shards.pack(stream, folder / "out", LENGTH))
        rest = (folder / "out" / shards.REST).stat().st_size // shards.TOKEN.itemsize
        return sequences * LENGTH + rest

    return written


STAGES = {"read": read, "repetition": repetition, "exact": exact, "near": near, "redact": redact,
          "tokenize": tokenize}  # fmt: skip


def main() -> None:
    stage = STAGES[sys.argv[1]](Path(sys.argv[2]))
    began = time.process_time()
    out = stage()
    print(json.dumps({"seconds": time.process_time() - began, "out": out}))


if __name__ == "__main__":
    main()
