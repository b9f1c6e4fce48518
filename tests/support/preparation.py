"""Preparation on local disk, without a store: parts are read and merged, in one process."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmcloud.api.contract import SourceEntry
from llmcloud.api.dataset import Prepare
from llmcloud_data.examples import Shape
from llmcloud_data.merging import GONE, PASS_DOCUMENTS, STATES, TRAIN, VALIDATION, merge
from llmcloud_data.reading import DOCUMENT, ENTITIES, TABLE, Texts, read_part, read_texts
from llmcloud_data.rejections import Rejection
from llmcloud_data.sources import SourceFile


@dataclass(frozen=True)
class Prepared:
    """The texts of both sides, and what became of the others. `states`: one of each document."""

    train: list[str]
    validation: list[str]
    read: int
    rejected: dict[str, int]
    redacted: dict[str, int]
    states: list[int]


def prepare_lines(
    parts: Sequence[Iterable[str]],
    steps: Prepare,
    folder: Path,
    pass_documents: int = PASS_DOCUMENTS,
) -> Prepared:
    """Prepare JSON lines, each part's an object of its own."""
    rejected: Counter[str] = Counter()
    places = []
    for number, lines in enumerate(parts):
        file = folder / f"object-{number}"
        file.write_text("\n".join(lines))
        entry = SourceEntry(store="raw", key=f"{number}.jsonl", bytes=1, sha256="")
        places.append(folder / f"part-{number}")
        counts = read_part(
            [SourceFile(entry, file, "jsonl", ("text",))], Shape(), steps, places[-1]
        )
        assert not file.exists()
        rejected.update(counts.rejected)
    texts = [list(read_texts(place)) for place in places]
    opened: dict[int, Texts] = {}

    def text_of(part: int, number: int) -> str:
        if part not in opened:
            opened[part] = Texts(places[part])
        return opened[part].text("text", number)

    read = sum(map(len, texts)) + rejected.total()
    merged = merge(places, steps, text_of, folder, pass_documents)
    states = np.fromfile(folder / STATES, dtype=np.uint8)
    tables = np.concatenate([np.fromfile(place / TABLE, dtype=DOCUMENT) for place in places])
    redacted = tables["redacted"][states != GONE].sum(axis=0).tolist()
    rejected[Rejection.DUPLICATE] = merged.duplicates
    rejected[Rejection.NEAR_DUPLICATE] = merged.near_duplicates
    every = [text for part in texts for text in part]
    train, validation = (
        [text for text, state in zip(every, states, strict=True) if state == side]
        for side in (TRAIN, VALIDATION)
    )
    assert (len(train), len(validation)) == (merged.train, merged.validation)
    return Prepared(
        train,
        validation,
        read,
        {str(reason): count for reason, count in sorted(rejected.items()) if count},
        {entity: count for entity, count in zip(ENTITIES, redacted, strict=True) if count},
        states.tolist(),
    )


def as_lines(texts: Iterable[str]) -> list[str]:
    return [json.dumps({"text": text}) for text in texts]
