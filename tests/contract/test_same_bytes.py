"""Sources that are written anew with the same bytes: the same version, and nothing recomputed."""

import json
from pathlib import Path

import pytest

from llmcloud.api.contract import (
    DatasetResult,
    DatasetTask,
    Progress,
    SourceTask,
    StoreLocation,
)
from llmcloud.api.dataset import Prepare, Split
from llmcloud.cloud.base import Store
from llmcloud.cloud.manifest import version_path
from llmcloud.cloud.report import Report
from llmcloud_data.prepare import SEEN, prepare_in
from tests.contract.proxy import behind

LINE = json.dumps({"text": "the same words in another object " * 20}) + "\n"


def prepared(folder: Path, location: StoreLocation, attempt: int) -> DatasetResult:
    task = DatasetTask(
        owner_uid="uid",
        recipe="sha256:" + "4" * 64,
        attempt=attempt,
        sources=[SourceTask(store=location, path="raw/", format="jsonl", include=["*"])],
        prepare=Prepare(split=Split(validation_fraction=0)),
        vocabulary_size=300,
        sequence_length_tokens=16,
        output=location,
        output_path="out/",
    )
    report = Report(Progress(attempt=attempt), port=0)
    try:
        outcome = prepare_in(folder / f"scratch-{attempt}", task, report)
    finally:
        report.close()
    assert outcome.dataset is not None, outcome.message
    return outcome.dataset


@pytest.mark.parametrize("server", ["azurite"], indirect=True)
def test_new_etags_of_the_same_bytes_are_read_once_and_no_more(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    for number in range(3):
        store.put(f"raw/{number}.jsonl", LINE.encode())
    first = prepared(tmp_path, location, 1)
    etags = {info.path: info.etag for info in store.list("raw/")}
    for number in range(3):
        store.put(f"raw/{number}.jsonl", LINE.encode())
    assert not etags.items() & {info.path: info.etag for info in store.list("raw/")}.items()
    folder = version_path("out/", first.version)
    before = {info.path: info.etag for info in store.list(folder)}

    again = prepared(tmp_path, location, 2)
    assert again.version == first.version
    after = {info.path: info.etag for info in store.list(folder)}
    assert after.keys() - before.keys() == {folder + SEEN}
    assert before.items() <= after.items(), "nothing was written again"
    work = [info.path for info in store.list("out/work/uid/")]
    assert not any("/files/" in path or "/results/" in path for path in work)

    with behind(location) as (there, proxy):
        assert prepared(tmp_path, there, 3).reused
    assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}
    assert not any(".jsonl" in request.target for request in proxy.requests)
