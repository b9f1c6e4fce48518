"""The memory of a worker does not grow with the one object that it prepares.

Measured is what the kernel cannot take back: anonymous memory, sampled. Mapped files count in the
peak of all that is resident, which is told beside it. Part of `make soak` alone: below 50 MB the
buffers of a shard and of uploads are not full yet.
"""

import json
import logging
import random
from pathlib import Path
from string import ascii_lowercase
from threading import Event, Thread

import pytest

from llmcloud.api.contract import DatasetTask, Progress, SourceTask, StoreLocation
from llmcloud.api.dataset import Deduplicate, Prepare, Split
from llmcloud.cloud.base import Store
from llmcloud.cloud.report import Report
from llmcloud_data.prepare import prepare_in
from tests.contract.writers import LAUNCH
from tests.support.figures import figure

SIZES_MB = (50, 300)
WORDS_A_LINE = 40
SAMPLE_SECONDS = 0.02
GROWTH_BYTES = 48 * 2**20
"""What more the larger object may take, for 250 MB that it is larger."""


def write_object(file: Path, size_bytes: int) -> None:
    """Short documents, no two alike, of words that are few."""
    dice = random.Random(2026)
    words = ["".join(dice.choices(ascii_lowercase, k=dice.randint(2, 9))) for _ in range(4000)]
    with file.open("w") as stream:
        while stream.tell() < size_bytes:
            lines = [" ".join(dice.choices(words, k=WORDS_A_LINE)) for _ in range(1000)]
            stream.writelines(json.dumps({"text": line}) + "\n" for line in lines)


def prepare_and_measure(task: DatasetTask, folder: Path) -> None:
    """Runs in a process of its own: a version, and the peaks on the way."""
    logging.disable()
    ended, peaks = Event(), [0]

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            peaks[0] = max(peaks[0], of_status("RssAnon"))

    thread = Thread(target=sample)
    thread.start()
    report = Report(Progress(attempt=1), port=0)
    try:
        outcome = prepare_in(folder / "scratch", task, report)
    finally:
        report.close()
        ended.set()
        thread.join()
    assert outcome.dataset is not None
    found = {"anonymous": peaks[0], "resident": of_status("VmHWM"),
             "documents": outcome.dataset.documents}  # fmt: skip
    (folder / "peaks.json").write_text(json.dumps(found))


def of_status(name: str) -> int:
    """Bytes that the kernel tells of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
def test_a_larger_object_takes_no_more_memory(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    peaks = {}
    for size_mb in SIZES_MB:
        size_bytes = size_mb * 10**6
        folder = tmp_path / str(size_mb)
        folder.mkdir()
        write_object(folder / "object", size_bytes)
        store.put(f"{size_mb}/one.jsonl", folder / "object")
        (folder / "object").unlink()
        source = SourceTask(store=location, path=f"{size_mb}/", format="jsonl", include=["*"])
        task = DatasetTask(
            owner_uid="uid", recipe="sha256:" + "7" * 64, attempt=1, sources=[source],
            prepare=Prepare(deduplicate=Deduplicate(), split=Split(validation_fraction=0.01)),
            tokenizer_algorithm="bpe", vocabulary_size=1000, sequence_length_tokens=512,
            output=location, output_path=f"out-{size_mb}/",
        )  # fmt: skip
        process = LAUNCH.Process(target=prepare_and_measure, args=(task, folder))
        process.start()
        process.join()
        assert process.exitcode == 0
        peaks[size_mb] = json.loads((folder / "peaks.json").read_text())
        assert peaks[size_mb]["documents"] > 0.9 * size_bytes / (7 * WORDS_A_LINE)
        for info in [*store.list(f"{size_mb}/"), *store.list(f"out-{size_mb}/")]:
            store.delete(info.path)
        for name in ("anonymous", "resident"):
            figure(f"worker, one object of {size_mb} MB: peak {name} memory",
                   peaks[size_mb][name] / 2**20, "MiB")  # fmt: skip
    small, large = (peaks[size]["anonymous"] for size in SIZES_MB)
    assert large - small < GROWTH_BYTES, peaks
