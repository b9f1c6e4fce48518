"""Dataset versions for trainers, prepared by the data image's own code from records in a store."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmcloud.api.base import digest
from llmcloud.api.contract import DatasetInput, DatasetTask, Progress, SourceTask
from llmcloud.api.dataset import RECORD_MEMBERS, DatasetType, Prepare, Split
from llmcloud.cloud.base import Store
from llmcloud.cloud.report import Report
from llmcloud_data.prepare import prepare_in

Record = Mapping[str, Any]


def prepared(
    store: Store,
    name: str,
    type_: DatasetType,
    records: Sequence[Record],
    *,
    vocabulary_size: int,
    sequence_length_tokens: int,
    labels: Sequence[str] = (),
    validation_fraction: float = 0.1,
) -> DatasetInput:
    """A version of a dataset below `name`/, of one JSON line per record."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    store.put(f"raw/{name}/records.jsonl", lines.encode())
    members = list(RECORD_MEMBERS[type_])
    source = SourceTask(
        store=store.location, path=f"raw/{name}/", format="jsonl", members=members, include=["*"]
    )
    task = DatasetTask(
        owner_uid=f"uid-{name}",
        recipe=digest([name, type_, list(labels), vocabulary_size, sequence_length_tokens]),
        attempt=1,
        type=type_,
        labels=list(labels),
        sources=[source],
        prepare=Prepare(split=Split(validation_fraction=validation_fraction)),
        tokenizer_algorithm="bpe",
        vocabulary_size=vocabulary_size,
        sequence_length_tokens=sequence_length_tokens,
        output=store.location,
        output_path=f"{name}/",
    )
    report = Report(Progress(attempt=1), port=0)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            outcome = prepare_in(Path(scratch) / "dataset", task, report)
    finally:
        report.close()
    assert outcome.dataset is not None, outcome.message
    return DatasetInput(
        store=store.location, path=f"{name}/", name=name, version=outcome.dataset.version
    )
