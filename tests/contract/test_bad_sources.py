"""What may be wrong with sources in a store: counted and named, or refused; never half taken.

Formats and their damage are in tests/unit/data/test_records.py, and in test_dataset.py here.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from llmcloud.api.contract import (
    DatasetTask,
    Outcome,
    Progress,
    Retry,
    SourceTask,
    StoreLocation,
)
from llmcloud.api.dataset import Prepare, Split
from llmcloud.api.names import Reason
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.errors import TaskError
from llmcloud.cloud.outcome import failure
from llmcloud.cloud.report import Report
from llmcloud_data.prepare import prepare_in
from tests.contract.conftest import MANY
from tests.contract.proxy import Request, behind
from tests.contract.servers import Server

GIBIBYTE = 1024**3
PEAK = """
import pathlib, sys
from llmcloud.api.contract import DatasetTask, Progress
from llmcloud.cloud.report import Report
from llmcloud_data.prepare import prepare_in
task = DatasetTask.model_validate_json(sys.argv[1])
outcome = prepare_in(pathlib.Path(sys.argv[2]), task, Report(Progress(attempt=1), 0))
# Not ru_maxrss, which a process has from the one that started it.
status = pathlib.Path("/proc/self/status").read_text()
(peak_kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
print(outcome.dataset.rejected, int(peak_kib) * 1024)
"""


@pytest.fixture
def server(versitygw: Server) -> Server:
    """One server: what is tested here is what becomes of bytes, wherever they lay."""
    return versitygw


def task_of(*sources: SourceTask, output: StoreLocation, attempt: int = 1) -> DatasetTask:
    return DatasetTask(
        owner_uid="uid", recipe="sha256:" + "4" * 64, attempt=attempt, sources=list(sources),
        prepare=Prepare(split=Split(validation_fraction=0)), tokenizer_algorithm="bpe",
        vocabulary_size=300, sequence_length_tokens=16, output=output, output_path="out/",
    )  # fmt: skip


def source(location: StoreLocation, path: str = "raw/", include: str = "*") -> SourceTask:
    return SourceTask(store=location, path=path, format="text", include=[include])


def prepare(task: DatasetTask, folder: Path) -> Outcome:
    report = Report(Progress(attempt=task.attempt), port=0)
    try:
        return prepare_in(folder / str(task.attempt), task, report)
    except TaskError as error:
        return failure(error)
    finally:
        report.close()


def versions(store: Store) -> list[str]:
    return [info.path for info in store.list("out/versions/") if "manifest" in info.path]


def test_an_object_that_changes_while_it_is_read_fails_the_attempt_not_the_data(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    for number in range(5):
        store.put(f"raw/{number}.txt", f"before {number}\n".encode() * 50)
    with behind(location) as (there, proxy):

        def judge(request: Request) -> None:
            if request.method == "GET" and "raw/3.txt" in request.target:
                store.put("raw/3.txt", b"after\n" * 50)

        proxy.judge = judge
        outcome = prepare(task_of(source(there), output=location), tmp_path)
    assert (outcome.reason, outcome.retry) == (Reason.SOURCE_CHANGED, Retry.ENVIRONMENT)
    assert "raw/3.txt" in outcome.message
    assert versions(store) == []
    assert prepare(task_of(source(location), output=location, attempt=2), tmp_path).succeeded


def test_archives_are_counted_and_their_names_lead_nowhere(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../../escaped"), io.BytesIO())
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    store.put("raw/a.tar", body.getvalue())
    store.put("raw/a.tar.gz", gzip.compress(body.getvalue()))
    store.put("raw/good.txt", b"a good text " * 20)
    outcome = prepare(task_of(source(location), output=location), tmp_path)
    assert outcome.dataset is not None
    assert (outcome.dataset.documents, outcome.dataset.rejected) == (1, {"archive": 2})
    assert not list(tmp_path.rglob("*escaped*"))


def test_more_objects_than_fit_a_page_and_objects_that_two_sources_name(
    filled: Callable[[Server], StoreLocation],
    server: Server,
    store: Store,
    location: StoreLocation,
    tmp_path: Path,
) -> None:
    """An object is read once, and the same key in another store is another object."""
    many = filled(server)
    store.put(MANY[0], b"the same key")
    store.put("empty", b"")
    other = location.model_copy(update={"name": "other"})
    task = task_of(
        source(many, "many/"), source(many, "", "many/*"), source(other, "many/"),
        source(other, "empty"), output=location,
    )  # fmt: skip
    outcome = prepare(task, tmp_path)
    assert outcome.dataset is not None, outcome
    assert outcome.dataset.documents == len(MANY) + 1
    assert outcome.dataset.rejected == {"empty": 1}


def test_a_line_of_a_gibibyte_is_counted_in_bounded_memory(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    file = tmp_path / "line.gz"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        for _ in range(1024):
            stream.write(b"x" * 1024 * 1024)
    store.put("raw/line.gz", file)
    store.put("raw/good.txt", b"a good text " * 20)
    task = task_of(source(location), output=location).model_dump_json(by_alias=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PEAK, task, str(tmp_path / "scratch")]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    rejected, peak = done.stdout.rsplit(" ", 1)
    assert rejected == "{'tooLarge': 1}"
    assert int(peak) < GIBIBYTE / 2


def test_a_bucket_that_is_not_there_is_named(location: StoreLocation, tmp_path: Path) -> None:
    missing = location.model_copy(update={"bucket": "not-there"})
    outcome = prepare(task_of(source(missing), output=location), tmp_path)
    assert (outcome.reason, outcome.retry) == (Reason.BUCKET_NOT_FOUND, Retry.ENVIRONMENT)
    assert versions(open_store(location)) == []
