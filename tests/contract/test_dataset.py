"""Dataset preparation end to end, by the pod's own command, on each server."""

import gzip
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from llmcloud.api.contract import (
    ENV_TASK,
    DatasetManifest,
    DatasetResult,
    DatasetTask,
    ExitCode,
    Outcome,
    Progress,
    Retry,
    SourceTask,
    StoreLocation,
)
from llmcloud.api.dataset import Clean, Deduplicate, Prepare, Redact, Split
from llmcloud.api.names import Reason
from llmcloud.api.source import RECORD_MEMBERS, DatasetType, Format
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import TaskError
from llmcloud.cloud.manifest import MANIFEST, download, version_path
from llmcloud.cloud.outcome import exit_code, failure
from llmcloud.cloud.report import Report
from llmcloud_data.prepare import prepare_in
from tests.contract.proxy import behind

RECIPE = "sha256:" + "1" * 64
LENGTH = 32
Run = Callable[[DatasetTask], tuple[int, Outcome]]
on_one_store = pytest.mark.parametrize("server", ["versitygw"], indirect=True)


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Run]:
    """Prepares in this process; gives the exit code and the outcome that the pod would."""
    report = Report(Progress(attempt=0), port=0)

    def run(task: DatasetTask) -> tuple[int, Outcome]:
        try:
            outcome = prepare_in(tmp_path / f"scratch-{task.attempt}", task, report)
        except TaskError as error:
            outcome = failure(error)
        return exit_code(outcome), outcome

    yield run
    report.close()


def prepare_as_a_pod(
    folder: Path, task: DatasetTask, more: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, Outcome]:
    """Runs `python -m llmcloud_data`, with `more` in its environment."""
    log = folder / "termination-log"
    environment = {
        ENV_TASK: task.model_dump_json(by_alias=True),
        "LLMCLOUD_TERMINATION_LOG": str(log),
        "LLMCLOUD_SCRATCH": str(folder / "scratch"),
        "LLMCLOUD_REPORT_PORT": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "llmcloud_data"]
    process = subprocess.run(
        command, env=os.environ | environment | dict(more), check=False, timeout=120
    )
    return process.returncode, Outcome.model_validate_json(log.read_bytes())


def write_sources(store: Store) -> None:
    for number in range(40):
        body = f"def function_{number}(x):\n    return x + {number}\n" * 20
        store.put(f"raw/pkg/module_{number:02d}.py", body.encode())
    store.put("raw/pkg/windows.py", "\ufeffone = 1\r\ntwo = 2\r\n".encode())
    store.put("raw/pkg/empty.py", b" \n")
    store.put("raw/pkg/latin.py", "caf\xe9".encode("latin-1"))
    store.put("raw/pkg/notes.txt", b"not included")


def dataset(location: StoreLocation, attempt: int = 1, **changes: object) -> DatasetTask:
    source = SourceTask(store=location, path="raw/", format="code", include=["*.py"])
    task = DatasetTask(
        owner_uid="uid",
        recipe=RECIPE,
        attempt=attempt,
        sources=[source],
        prepare=Prepare(split=Split(validation_fraction=0.1)),
        tokenizer_algorithm="bpe",
        vocabulary_size=400,
        sequence_length_tokens=LENGTH,
        output=location,
        output_path="out/",
    )
    return task.model_copy(update=changes)


def read(store: Store, version: str) -> DatasetManifest:
    return DatasetManifest.model_validate_json(store.get(version_path("out/", version) + MANIFEST))


def prepared(result: tuple[int, Outcome]) -> DatasetResult:
    code, outcome = result
    assert code == ExitCode.OK, outcome.model_dump_json()
    assert outcome.reason is Reason.PREPARED
    assert outcome.dataset is not None
    return outcome.dataset


def test_text_becomes_tokens_once_and_anew_when_a_source_changes(
    store: Store, location: StoreLocation, prepare: Run, tmp_path: Path
) -> None:
    write_sources(store)
    first = prepared(prepare_as_a_pod(tmp_path, dataset(location)))
    assert not first.reused
    assert first.rejected == {"empty": 1, "invalidUtf8": 1}
    assert first.documents == 41
    manifest = read(store, first.version)
    _check_tokens(store, manifest, tmp_path / "files")

    with behind(location) as (there, proxy):
        again = prepared(prepare(dataset(there, attempt=2)))
    assert again == first.model_copy(update={"reused": True})
    assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}
    assert not any(request.body for request in proxy.requests)

    store.put("raw/pkg/module_00.py", b"changed = True\n" * 50)
    changed = prepared(prepare(dataset(location, attempt=3)))
    assert changed.version != first.version
    assert not changed.reused
    other = prepared(prepare(dataset(location, attempt=4, recipe="sha256:" + "2" * 64)))
    assert other.version != changed.version


def test_a_version_that_somebody_removed_is_made_anew(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    write_sources(store)
    first = prepared(prepare(dataset(location)))
    for info in list(store.list("out/versions/")):
        store.delete(info.path)
    again = prepared(prepare(dataset(location, attempt=2)))
    assert again == first
    assert not again.reused


def _check_tokens(store: Store, manifest: DatasetManifest, folder: Path) -> None:
    """The shards decode to the training documents in the order of their keys."""
    path = version_path("out/", manifest.version)
    download(store, path, [*manifest.train, *manifest.validation, *manifest.tokenizer], folder)
    (file,) = [e.key for e in manifest.tokenizer if e.key.endswith("/tokenizer.json")]
    tokenizer = Tokenizer.from_file(str(folder / file))
    ids = np.concatenate([np.fromfile(folder / s.key, dtype="<u4") for s in manifest.train])
    assert len(ids) == manifest.tokens == sum(s.sequences for s in manifest.train) * LENGTH
    documents = tokenizer.decode(ids.tolist(), skip_special_tokens=False).split("<|endoftext|>")
    numbers = [int(d.split("_")[1].split("(")[0]) for d in documents if d.startswith("def ")]
    assert numbers == sorted(numbers)
    assert manifest.validation_documents >= 1
    assert len(numbers) + manifest.validation_documents >= 39
    assert manifest.validation_tokens > 0
    assert manifest.end_of_text_id == tokenizer.token_to_id("<|endoftext|>")
    assert manifest.vocabulary_size == tokenizer.get_vocab_size() <= 400
    config = json.loads((folder / file).with_name("tokenizer_config.json").read_text())
    assert config["eos_token"] == "<|endoftext|>"


def test_two_preparations_of_the_same_input_make_the_same_bytes(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    write_sources(store)
    here = prepared(prepare(dataset(location)))
    there = prepared(prepare(dataset(location, output_path="other/")))
    assert there.version == here.version
    assert not there.reused
    one = read(store, here.version)
    two = DatasetManifest.model_validate_json(
        store.get(version_path("other/", there.version) + MANIFEST)
    )
    assert one == two


def test_racing_attempts_adopt_one_manifest_and_leave_no_other_files(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    write_sources(store)
    with ThreadPoolExecutor(2) as executor:
        tasks = [dataset(location, attempt=1), dataset(location, attempt=2)]
        one, two = map(prepared, executor.map(prepare, tasks))
    assert one.version == two.version
    manifest = read(store, one.version)
    folder = version_path("out/", one.version)
    there = {entry.path.removeprefix(folder) for entry in store.list(folder)}
    files = [*manifest.tokenizer, *manifest.train, *manifest.validation]
    assert there == {MANIFEST, *(entry.key for entry in files)}


def test_a_version_with_a_missing_shard_is_not_reused(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    write_sources(store)
    first = prepared(prepare(dataset(location)))
    shard = read(store, first.version).train[0]
    store.delete(version_path("out/", first.version) + shard.key)
    code, outcome = prepare(dataset(location, attempt=2))
    assert code == ExitCode.FAILED
    assert outcome.reason is Reason.DIGEST_MISMATCH
    assert shard.key in outcome.message


def test_sources_without_documents_are_named(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    code, outcome = prepare(dataset(location))
    assert (code, outcome.reason) == (ExitCode.FAILED, Reason.SOURCE_EMPTY)
    for part in ("store corpus", "path 'raw/'", "include *.py"):
        assert part in outcome.message
    store.put("raw/empty.py", b"")
    _, outcome = prepare(dataset(location))
    assert outcome.reason is Reason.SOURCE_EMPTY


@on_one_store
def test_texts_shorter_than_a_sequence_are_refused_for_good(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    store.put("raw/short.py", b"x = 1\n")
    code, outcome = prepare(dataset(location))
    assert (code, outcome.retry) == (ExitCode.CONFIGURATION, Retry.NEVER)
    assert "spec.sequenceLength" in outcome.message


def test_records_of_all_formats_become_one_corpus(
    store: Store, location: StoreLocation, prepare: Run, tmp_path: Path
) -> None:
    """Keys as people have them; damage is counted, and what is whole is kept."""
    texts = [f"def function_{number}(x):\n    return x + {number}\n" * 9 for number in range(40)]
    lines = "".join(json.dumps({"body": text}) + "\n" for text in texts[:10]).encode()
    store.put("raw/a/many lines.jsonl", lines + b'{"other": 1}\nbroken\n')
    store.put("raw/b//\u00fcber.jsonl.gz", gzip.compress(lines.replace(b"function", b"method")))
    store.put("raw/b/cut.jsonl.gz", gzip.compress(lines)[:40])
    rows = "body\n" + "".join(f'"{text}"\n' for text in texts[10:20])
    store.put("raw/c/rows.csv.zst", bytes(pa.compress(rows.encode(), "zstd", asbytes=True)))
    pq.write_table(pa.table({"body": texts[20:30]}), tmp_path / "file")
    store.put("raw/d/table.parquet", tmp_path / "file")
    formats: dict[Format, str] = {"jsonl": "*.jsonl*", "csv": "*.csv*", "parquet": "*.parquet"}
    sources = [
        SourceTask(store=location, path="raw/", format=name, members=["body"], include=[glob])
        for name, glob in formats.items()
    ]
    result = prepared(prepare(dataset(location, sources=sources)))
    assert result.documents == 40
    assert result.rejected == {"corrupt": 1, "invalidRecord": 1, "missingField": 1}
    keys = [source.key for source in read(store, result.version).sources]
    assert keys == sorted(info.path for info in store.list("raw/"))


@on_one_store
def test_every_step_is_counted_in_result_and_manifest(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    write_sources(store)
    for number in range(3):
        text = "def mail():\n" + f"    send('user{number}@acme.com', {number})\n" * 20
        store.put(f"raw/pkg/mail_{number}.py", text.encode())
        store.put(f"raw/pkg/copy_{number}.py", text.replace("\n", "\r\n").encode())
    steps = Prepare(
        clean=Clean(min_characters=30),
        deduplicate=Deduplicate(),
        redact=Redact(entities=["email"]),
        split=Split(validation_fraction=0.1),
    )
    result = prepared(prepare(dataset(location, prepare=steps)))
    manifest = read(store, result.version)
    assert result.rejected == manifest.rejected
    assert result.rejected == {"duplicate": 3, "empty": 1, "invalidUtf8": 1, "short": 1}
    assert result.redacted == manifest.redacted == {"email": 60}
    assert manifest.documents_read == result.documents + 6


@on_one_store
def test_a_language_that_cannot_be_told_is_refused_for_good(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    write_sources(store)
    steps = Prepare(clean=Clean(languages=["qq"]))
    code, outcome = prepare(dataset(location, prepare=steps))
    assert (code, outcome.retry) == (ExitCode.CONFIGURATION, Retry.NEVER)
    assert "spec.prepare.clean.languages" in outcome.message


EXAMPLES: dict[DatasetType, tuple[list[object], dict[str, int]]] = {
    "chat": (
        [
            *({"messages": [{"role": "user", "content": f"What is {n}?"},
                            {"role": "assistant", "content": f"It is {n}, ask a{n}@acme.com."}]}
              for n in range(30)),
            {"messages": [{"role": "user", "content": "What?"}]},
            {"text": "of another schema"},
        ],
        {"missingField": 1, "noAnswer": 1},
    ),
    "pairs": (
        [*({"source": f"question {n}", "target": f"a{n}@acme.com"} for n in range(30)),
         {"source": "question 3", "target": "a3@acme.com"}, {"source": "alone"}],
        {"duplicate": 1, "missingField": 1},
    ),
    "labeled": (
        [*({"text": f"Text {n} of a{n}@acme.com", "label": ["no", "yes"][n % 2]}
           for n in range(30)), {"text": "odd", "label": "maybe"}],
        {"unknownLabel": 1},
    ),
    "tags": (
        [*({"tokens": ["word", f"number{n}"], "tags": ["no", n % 2]} for n in range(30)),
         {"tokens": ["word"], "tags": []}],
        {"lengthMismatch": 1},
    ),
}  # fmt: skip


@on_one_store
@pytest.mark.parametrize("type_", list(EXAMPLES))
def test_examples_become_shards_of_lines(
    store: Store, location: StoreLocation, prepare: Run, tmp_path: Path, type_: DatasetType
) -> None:
    records, rejected = EXAMPLES[type_]
    body = "".join(json.dumps(record) + "\n" for record in records)
    store.put("raw/a.jsonl", body.encode())
    redact = None if type_ == "tags" else Redact(entities=["email"])
    task = dataset(
        location,
        type=type_,
        labels=["no", "yes"] if type_ in ("labeled", "tags") else [],
        sources=[
            SourceTask(
                store=location, path="raw/", format="jsonl", include=["*"],
                members=list(RECORD_MEMBERS[type_]),
            )
        ],
        prepare=Prepare(
            clean=Clean(), deduplicate=Deduplicate(), redact=redact,
            split=Split(validation_fraction=0.2),
        ),
    )  # fmt: skip
    result = prepared(prepare(task))
    assert (result.documents, result.rejected) == (30, rejected)
    assert result.redacted == ({"email": 30} if redact else {})
    manifest = read(store, result.version)
    assert (manifest.type, manifest.labels) == (type_, task.labels)
    shards = [*manifest.train, *manifest.validation]
    download(store, version_path("out/", result.version), shards, tmp_path / "files")
    lines = [(tmp_path / "files" / shard.key).read_text().splitlines() for shard in shards]
    assert [len(part) for part in lines] == [shard.examples for shard in shards]
    assert len(lines[-1]) == manifest.validation_documents > 0
    for line in itertools.chain(*lines):
        assert set(json.loads(line)) == set(RECORD_MEMBERS[type_])
        assert "@" not in line
    assert manifest.tokens > 2 * len(lines[0])


def test_versions_that_are_too_many_go_whole_and_others_stay(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    write_sources(store)
    versions = []
    for attempt in range(1, 4):
        store.put("raw/pkg/module_00.py", f"changed = {attempt}\n".encode() * 50)
        versions.append(prepared(prepare(dataset(location, attempt))).version)
    task = dataset(location, 4, drop=versions[:2], current=versions[2])
    told = prepared(prepare(task))
    assert (told.version, told.dropped, told.reused) == (versions[2], versions[:2], True)
    there = {info.path.split("/")[2] for info in store.list("out/versions/")}
    assert there == {versions[2].removeprefix("sha256:")}
    assert prepared(prepare(task)) == told
    again = prepared(prepare(dataset(location, 5)))
    assert (again.version, again.reused) == (versions[2], True)


def test_another_cluster_adopts_what_the_store_holds_without_reading_it(
    store: Store, location: StoreLocation, prepare: Run
) -> None:
    write_sources(store)
    first = prepared(prepare(dataset(location)))
    before = list(store.list(""))
    adopted = prepared(prepare(dataset(location, owner_uid="another")))
    assert adopted == first.model_copy(update={"reused": True})
    assert list(store.list("")) == before
