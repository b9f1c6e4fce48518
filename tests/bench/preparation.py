"""A whole preparation by several workers over a real store: memory, time, what was found, and
that it is the same whoever makes it and however often."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from llmcloud.api.contract import (
    ENV_TASK,
    DatasetManifest,
    DatasetResult,
    DatasetTask,
    Outcome,
    ProvisionTask,
    SourceTask,
    StoreLocation,
)
from llmcloud.api.dataset import Clean, Deduplicate, NearDuplicates, Prepare, Redact
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.manifest import MANIFEST, read_manifest, version_path
from llmcloud.cloud.provision import provision
from llmcloud_data.merging import GONE, States
from llmcloud_data.results import MergeResult
from tests.bench.planted import Fate, Planted, write_corpus
from tests.contract.servers import versitygw
from tests.support.figures import figure
from tests.support.redactions import ENTITIES

WORKERS: Final = 2
GIBIBYTE: Final = 1024**3
LOOK_SECONDS: Final = 0.5
SEVERAL_PARTS_BYTES: Final = 150_000_000


@dataclass(frozen=True)
class Prepared:
    """What the workers told, and what each took; `states` of all documents if they were seen."""

    result: DatasetResult
    peak_bytes: list[int]
    cpu_seconds: float
    seconds: float
    states: States | None


@dataclass(frozen=True)
class Place:
    """A store of its own, and where its server keeps the bytes."""

    location: StoreLocation
    store: Store
    objects: Path
    scratch: Path

    def written_bytes(self, since: float) -> int:
        """Of files that were written or changed at or after `since`, seconds since the epoch."""
        infos = (file.stat() for file in self.objects.rglob("*") if file.is_file())
        return sum(info.st_size for info in infos if info.st_ctime >= since)


@contextmanager
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as name, versitygw(Path(name) / "server") as server:
        location = server.location("bench")
        assert provision(ProvisionTask(store=location, create=True, owner_uid="u")).succeeded
        objects = Path(name) / "server" / "objects"
        yield Place(location, open_store(location), objects, Path(name))


def measure_preparation(corpus_bytes: int) -> None:
    """Prepare a corpus of `corpus_bytes` twice: made by all workers, then found."""
    with place() as here:
        planted = write_corpus(here.store, corpus_bytes, seed=1)
        task = task_of(here.location, "out/", WORKERS)
        made = prepare(task, here)
        time.sleep(1)  # what is written from now on has a later time
        began = time.time()
        again = prepare(task.model_copy(update={"attempt": 2}), here)
        written_bytes = here.written_bytes(began)
    figure("corpus", planted.bytes / 1e6, "MB")
    figure("corpus: documents", len(planted.fates), "documents")
    figure(f"preparation by {WORKERS} workers", made.seconds, "s")
    figure("preparation: CPU of all workers", made.cpu_seconds, "s")
    figure("preparation: peak memory of the largest worker, VmHWM",
           max(made.peak_bytes) / GIBIBYTE, "GiB", 1.0)  # fmt: skip
    assert again.result.version == made.result.version
    assert again.result.reused
    figure("the same run again", again.seconds, "s")
    figure("the same run again: written", written_bytes, "bytes", 0)
    tell_removed(planted, made)
    tell_redacted(planted, made)


def tell_removed(planted: Planted, made: Prepared) -> None:
    states, fates = made.states, np.frombuffer(planted.fates, dtype=np.uint8)
    assert states is not None
    assert len(states) == len(fates), "cleaning left out what was to be compared"
    gone = states == GONE

    def share(fate: Fate) -> float:
        return float(gone[fates == fate].mean())

    figure("corpus: exact copies removed", share(Fate.COPY), "share", 1.0, floor=True)
    figure("corpus: near copies removed, J >= 0.85", share(Fate.ALIKE), "share", 0.98, floor=True)
    figure("corpus: documents removed, best J <= 0.7", share(Fate.APART), "share", 0.01)
    figure("corpus: documents removed that resemble none", share(Fate.ALONE), "share", 0.01)
    figure("corpus: first of several removed", share(Fate.FIRST), "share", 0)


def tell_redacted(planted: Planted, made: Prepared) -> None:
    """Placeholders in what is kept, beside what was planted there."""
    assert made.states is not None
    kept = (made.states != GONE).tolist()
    there = Counter(
        entity for entity, keep in zip(planted.entities, kept, strict=True) if keep and entity
    )
    for entity in ENTITIES:
        anchor = ("planted", float(there[entity]))
        placeholders = made.result.redacted.get(entity, 0)
        figure(f"corpus: {entity} placeholders", placeholders, "placeholders", anchor=anchor)


def measure_versions(corpus_bytes: int) -> None:
    """What one worker and four make of the same corpus, of several parts."""
    with place() as here:
        write_corpus(here.store, min(corpus_bytes, SEVERAL_PARTS_BYTES), seed=2)
        one, four = (
            manifest_of(here, task_of(here.location, f"by-{workers}/", workers))
            for workers in (1, 4)
        )
    figure("versions made by 1 and by 4 workers", len({one.version, four.version}), "versions", 1)
    files = {entry.sha256 for entry in [*one.tokenizer, *one.train, *one.validation]}
    others = {entry.sha256 for entry in [*four.tokenizer, *four.train, *four.validation]}
    figure("files of the version", len(files), "files")
    figure("files that only one of them has", len(files ^ others), "files", 0)


def manifest_of(here: Place, task: DatasetTask) -> DatasetManifest:
    version = prepare(task, here).result.version
    path = version_path(task.output_path, version) + MANIFEST
    manifest = read_manifest(here.store, path, DatasetManifest)
    assert manifest is not None
    return manifest


def task_of(location: StoreLocation, output_path: str, workers: int) -> DatasetTask:
    source = SourceTask(store=location, path="raw/", format="jsonl", include=["*"])
    return DatasetTask(
        owner_uid="bench", workers=workers, recipe="sha256:" + "5" * 64, attempt=1,
        sources=[source], tokenizer_algorithm="bpe", vocabulary_size=16000,
        sequence_length_tokens=2048, output=location, output_path=output_path,
        prepare=Prepare(
            clean=Clean(languages=None), redact=Redact(),
            deduplicate=Deduplicate(near=NearDuplicates()),
        ),
    )  # fmt: skip


def prepare(task: DatasetTask, here: Place) -> Prepared:
    """Run the pod's own command for each worker. Peaks are looked at as long as each runs."""
    began = time.perf_counter()
    processes = [start(task, index, here) for index in range(task.workers)]
    peak_bytes, cpu_seconds, states = [0] * task.workers, 0.0, None
    running = set(range(task.workers))
    while running:
        for index in list(running):
            process = processes[index]
            peak_bytes[index] = max(peak_bytes[index], peak_of(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                cpu_seconds += usage.ru_utime + usage.ru_stime
                running.remove(index)
        if states is None:
            states = merged(here.store, task.output_path)
        time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - began
    outcomes = [
        Outcome.model_validate_json(log_of(here, index).read_bytes())
        for index in range(task.workers)
    ]
    results = [outcome.dataset for outcome in outcomes]
    first = results[0]
    assert first is not None, outcomes
    assert all(result is not None and result.version == first.version for result in results)
    return Prepared(first, peak_bytes, cpu_seconds, seconds, states)


def start(task: DatasetTask, index: int, here: Place) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        ENV_TASK: task.model_dump_json(by_alias=True),
        "LLMCLOUD_TERMINATION_LOG": str(log_of(here, index)),
        "LLMCLOUD_SCRATCH": str(here.scratch / f"scratch-{index}"),
        "LLMCLOUD_REPORT_PORT": "0",
        "JOB_COMPLETION_INDEX": str(index),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "llmcloud_data"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def log_of(here: Place, index: int) -> Path:
    return here.scratch / f"termination-{index}"


def peak_of(pid: int) -> int:
    """VmHWM of a process in bytes, 0 where it has ended. Not ru_maxrss, which a process has from
    the one that started it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def merged(store: Store, output_path: str) -> States | None:
    """What became of each document: lies in the store from the merge until all is published."""
    for info in store.list(f"{output_path}work/"):
        if info.path.endswith("/results/merge.json"):
            result = read_manifest(store, info.path, MergeResult)
            if result is not None:
                return np.frombuffer(store.get(result.states.key), dtype=np.uint8)
    return None
