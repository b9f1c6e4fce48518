"""Workers share a version through the store alone, however many they are, and go on with what an
earlier attempt has read.

What becomes of a version when its one writer is killed is in test_soak.py.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmcloud.api.contract import (
    DatasetManifest,
    DatasetResult,
    DatasetTask,
    Outcome,
    Progress,
    SourceTask,
    StoreLocation,
)
from llmcloud.api.dataset import Clean, Deduplicate, NearDuplicates, Prepare, Redact, Split
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import ObjectChanged
from llmcloud.cloud.manifest import MANIFEST, version_path
from llmcloud.cloud.report import Report
from llmcloud_data.prepare import prepare_in
from tests.contract.by_hand import begin_upload, unfinished_uploads
from tests.contract.proxy import Fault, Request, behind
from tests.contract.servers import CHECKING, Server

PART_BYTES = 12_000
OBJECTS = 12
WORKERS = 4
SEED = 2026
MARKS = ("/published.json", "/uid/a1.json", "/uid/a2.json")
STEPS = Prepare(
    clean=Clean(),
    deduplicate=Deduplicate(near=NearDuplicates()),
    redact=Redact(entities=["email"]),
    split=Split(validation_fraction=0.1),
)


@pytest.fixture(params=CHECKING)
def server(request: pytest.FixtureRequest, running: Callable[[str], Server]) -> Server:
    """One of each provider."""
    return running(request.param)


def write_sources(store: Store) -> None:
    """Texts of which some come again, whole or nearly so, in other objects."""
    dice = random.Random(SEED)
    words = [f"word{number}" for number in range(500)]
    texts = [" ".join(dice.choices(words, k=60)) for _ in range(20 * OBJECTS)]
    for place in range(7, len(texts), 40):
        texts[place] = texts[place - 7] + f" and write to user{place}@acme.com"
        texts[place - 1] = texts[(place * 31) % len(texts)]
    for number in range(OBJECTS):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts[number::OBJECTS])
        store.put(f"raw/{number:02d}.jsonl", lines.encode())


def task_of(location: StoreLocation, output_path: str, attempt: int, workers: int) -> DatasetTask:
    source = SourceTask(store=location, path="raw/", format="jsonl", include=["*"])
    return DatasetTask(
        owner_uid="uid", workers=workers, recipe="sha256:" + "3" * 64, attempt=attempt,
        sources=[source], prepare=STEPS, tokenizer_algorithm="bpe", vocabulary_size=600,
        sequence_length_tokens=64, output=location, output_path=output_path,
    )  # fmt: skip


def run(task: DatasetTask, folder: Path, index: int, patience_seconds: float = 0) -> Outcome:
    report = Report(Progress(attempt=task.attempt), port=0)
    try:
        return prepare_in(
            folder / f"{task.output_path}{task.attempt}-{index}", task, report, index,
            part_bytes=PART_BYTES, patience_seconds=patience_seconds,
        )  # fmt: skip
    finally:
        report.close()


def manifest_of(store: Store, outcome: Outcome, output_path: str) -> DatasetManifest:
    assert isinstance(outcome.dataset, DatasetResult), outcome
    path = version_path(output_path, outcome.dataset.version) + MANIFEST
    return DatasetManifest.model_validate_json(store.get(path))


def what_remains(store: Store, output_path: str, manifest: DatasetManifest) -> set[str]:
    """What lies below the output path and belongs to no version; marks of a few bytes not."""
    files = [*manifest.tokenizer, *manifest.train, *manifest.validation]
    folder = version_path(output_path, manifest.version)
    known = {folder + MANIFEST, *(folder + file.key for file in files)}
    there = {entry.path for entry in store.list(output_path)} - known
    return {path for path in there if not path.endswith(MARKS)}


def test_one_worker_and_four_make_the_same_shards(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    write_sources(store)
    begin_upload(location, "four/work/uid/of a killed worker")
    alone = run(task_of(location, "one/", 1, 1), tmp_path, 0)
    together = task_of(location, "four/", 1, WORKERS)
    with ThreadPoolExecutor(WORKERS) as executor:
        outcomes = list(
            executor.map(lambda index: run(together, tmp_path, index, 600), range(WORKERS))
        )
    first = manifest_of(store, alone, "one/")
    assert len({entry.key.split("-")[0] for entry in first.train}) > 2
    assert first.rejected["duplicate"] > 2
    assert first.rejected["nearDuplicate"] > 2
    for outcome in outcomes:
        assert outcome.dataset == alone.dataset
        assert manifest_of(store, outcome, "four/") == first
    assert what_remains(store, "four/", first) == set()
    assert not unfinished_uploads(location, "four/")


def test_one_of_four_workers_ends_without_the_others(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    """The others' pods may wait for a node; when they come, there is nothing left to do."""
    write_sources(store)
    task = task_of(location, "out/", 1, WORKERS)
    outcome = run(task, tmp_path, 2)
    before = list(store.list("out/versions/"))
    late = run(task, tmp_path, 0)
    assert late.dataset is not None
    assert outcome.dataset is not None
    assert late.dataset.version == outcome.dataset.version
    assert late.dataset.reused
    assert list(store.list("out/versions/")) == before


def test_a_source_that_changes_is_read_again_and_no_other_part(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    write_sources(store)
    last = f"raw/{OBJECTS - 1:02d}.jsonl"
    changed = store.get(last) + json.dumps({"text": "one line more " * 20}).encode()

    def moving(request: Request) -> Fault | None:
        if request.method == "GET" and read_objects([request]) == [last]:
            store.put(last, changed)
        return None

    with behind(location) as (there, proxy):
        proxy.judge = moving
        with pytest.raises(ObjectChanged):
            run(task_of(there, "out/", 1, 1), tmp_path, 0)
    with behind(location) as (there, proxy):
        outcome = run(task_of(there, "out/", 2, 1), tmp_path, 0)
    again = sorted(set(read_objects(proxy.requests)))  # one may be asked for twice
    assert last in again
    assert len(again) < OBJECTS / 2
    assert again == [f"raw/{number:02d}.jsonl" for number in range(OBJECTS)][-len(again) :]

    manifest = manifest_of(store, outcome, "out/")
    anew = manifest_of(store, run(task_of(location, "new/", 1, 1), tmp_path, 0), "new/")
    assert manifest == anew.model_copy(update={"attempt": 2})
    assert what_remains(store, "out/", manifest) == set()


def read_objects(requests: Sequence[Request]) -> list[str]:
    """The sources whose bytes were asked for."""
    found = (re.search(r"raw(?:/|%2F)(\d+\.jsonl)", request.target) for request in requests)
    return [f"raw/{match[1]}" for match in found if match]
