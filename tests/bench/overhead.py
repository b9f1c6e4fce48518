"""What our trainer costs beside transformers' Trainer alone, and how long its steps wait.

Both train the same model on the same tokens with the same arguments on the same core, in turns;
which of a pair is first alternates. Told are the steps, which are the call of `Trainer.train` with
all that it calls, and the whole process: only ours has a store, a ledger, a checkpoint and digests.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

from llmcloud.api.contract import Architecture, DatasetInput, DatasetManifest, StoreLocation
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.manifest import MANIFEST, read_manifest, version_path
from llmcloud_runtime.configuration import model_arguments
from llmcloud_runtime.resources import SPIN_COUNT
from tests.bench import trainers
from tests.support.datasets import prepared
from tests.support.figures import figure
from tests.support.labels import modules
from tests.support.ranks import RUN_SECONDS, Runtime
from tests.support.trainer import Trainer, architecture

INSIDE = "/work/bench"
TAKEN = "taken.json"
LENGTH = 128
STEPS = 50
BATCH = 8
SHAPE = {"hidden_size": 256, "layers": 2, "context_length": LENGTH}
LARGE = {"hidden_size": 640, "layers": 12, "heads": 10, "context_length": LENGTH}
CHECKPOINT_SECONDS = 60
CHECKPOINTS = 4
AFTER_SECONDS = 10.0
"""So soon after a checkpoint it is still being written and uploaded."""
ALPHA = 0.05

Taken = dict[str, Any]


class Bench:
    """Starts both trainers in the runtime image, under the stopwatch."""

    def __init__(self, runtime: Runtime, location: StoreLocation) -> None:
        self.folder = runtime.root / INSIDE[1:]
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(Path(trainers.__file__).parent, self.folder)
        self._root = runtime.root
        ours = {"STOPWATCH_MODULE": "llmcloud_runtime.train"}
        self.trainer = Trainer(self._timed(ours), location, "stopwatch")
        self.store: Store = open_store(location)
        texts = [{"text": text} for text in modules()]
        self.data: DatasetInput = prepared(
            self.store, "sources", "text", texts, vocabulary_size=2048,
            sequence_length_tokens=LENGTH,
        )  # fmt: skip

    def _timed(self, environment: dict[str, str]) -> Runtime:
        fixed = {"PYTHONPATH": INSIDE, "STOPWATCH_FILE": f"{INSIDE}/{TAKEN}",
                 "GOMP_SPINCOUNT": SPIN_COUNT}  # fmt: skip
        return Runtime(self._root, fixed | environment)

    def taken(self) -> Taken:
        """What the stopwatch wrote."""
        found: Taken = json.loads((self.folder / TAKEN).read_text())
        return found

    def ours(self, number: int) -> Taken:
        """Run our trainer for `STEPS` steps."""
        task = self.trainer.task(
            f"ours-{number}", architecture("llama", **SHAPE), self.data, max_steps=STEPS,
            global_batch_size=BATCH,
        )  # fmt: skip
        began = time.perf_counter()
        run = self.trainer.run(task)
        assert run.outcome.succeeded, run.log[-3000:]
        return self.taken() | {"process_seconds": time.perf_counter() - began}

    def alone(self, number: int) -> Taken:
        """Run transformers' Trainer for as many."""
        log = self.folder / f"alone-{number}.log"
        told = {"STOPWATCH_MODULE": "alone", "ALONE": json.dumps(self._alone())}
        began = time.perf_counter()
        process = self._timed(told).start(log, "stopwatch", {})
        code = process.wait(RUN_SECONDS)
        assert code == 0, log.read_text()[-3000:]
        return self.taken() | {"process_seconds": time.perf_counter() - began}

    def _alone(self) -> dict[str, Any]:
        path = version_path(self.data.path, self.data.version)
        manifest = read_manifest(self.store, path + MANIFEST, DatasetManifest)
        assert manifest is not None
        tokens = b"".join(self.store.get(path + entry.key) for entry in manifest.train)
        (self.folder / "tokens").write_bytes(tokens)
        shape = Architecture.model_validate({"family": "llama", "heads": 4, **SHAPE})
        end = manifest.end_of_text_id
        arguments = {
            "max_steps": STEPS, "per_device_train_batch_size": BATCH, "learning_rate": 0.003,
            "lr_scheduler_type": "cosine", "weight_decay": 0.01, "adam_beta2": 0.95, "seed": 0,
            "use_cpu": True, "dataloader_pin_memory": False, "logging_steps": 1,
            "logging_nan_inf_filter": False, "save_strategy": "no", "report_to": "none",
            "disable_tqdm": True,
        }  # fmt: skip
        return {
            "tokens": f"{INSIDE}/tokens", "length_tokens": LENGTH, "family": "llama",
            "model": model_arguments(shape, manifest.vocabulary_size, end, end),
            "arguments": arguments, "folder": f"{INSIDE}/model",
        }  # fmt: skip


def measure_overhead(bench: Bench, pairs: int) -> None:
    """Ratios of pairs, the upper 95 % bound of their median."""
    ours: list[Taken] = []
    alone: list[Taken] = []
    with one_core():
        for number in range(pairs):
            turns = [(ours, bench.ours), (alone, bench.alone)]
            for them, run in turns if number % 2 == 0 else reversed(turns):
                them.append(run(number))
    for what, member in {
        "steps, wall": "seconds", "steps, CPU": "cpu_seconds",
        "whole process, wall": "process_seconds", "whole process, CPU": "process_cpu_seconds",
    }.items():  # fmt: skip
        mine, theirs = ([taken[member] for taken in them] for them in (ours, alone))
        ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
        figure(f"{STEPS} {what}", median(mine), "s", anchor=("Trainer alone", median(theirs)))
        figure(f"{STEPS} {what}: median ratio of {pairs} pairs", median(ratios), "")
        figure(f"{STEPS} {what}: upper 95 % bound of the median ratio", upper_bound(ratios), "",
               1.03)  # fmt: skip
    losses = [median(taken["loss"] for taken in them) for them in (ours, alone)]
    figure(f"{STEPS} steps: mean loss", losses[0], "nats", anchor=("Trainer alone", losses[1]))


def upper_bound(values: Sequence[float]) -> float:
    """Of their median, one-sided, by order statistics: of n draws k or more lie below the median
    with the probability of k heads or more in n throws."""
    n = len(values)
    for k in range(1, n + 1):
        if sum(comb(n, heads) for heads in range(k, n + 1)) <= ALPHA * 2**n:
            return sorted(values)[k - 1]
    raise ValueError(f"{n} values are too few for a bound at {1 - ALPHA:.0%}.")


@contextmanager
def one_core() -> Iterator[None]:
    """What is started has one core, and so one compute thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure_checkpoints(bench: Bench) -> None:
    """A model of more than 50 M parameters with Adam, a checkpoint every 60 s: the share of the
    time in which the step loop waits for them, from the first step to the last checkpoint but
    one, which SIGTERM causes."""
    task = bench.trainer.task(
        "large", architecture("llama", **LARGE), bench.data, max_steps=100_000,
        global_batch_size=4, checkpoint_every_seconds=CHECKPOINT_SECONDS,
    )  # fmt: skip
    with bench.trainer.started(task) as attempt:
        while len(list(bench.store.list("large/ledger/"))) <= CHECKPOINTS:
            assert attempt.process.poll() is None, attempt.log.read_text()[-3000:]
            time.sleep(1)
        attempt.process.send_signal(signal.SIGTERM)
        attempt.process.wait(RUN_SECONDS)
    taken = bench.taken()
    name = f"{taken['parameters'] / 1e6:.0f} M parameters, checkpoint every {CHECKPOINT_SECONDS} s"
    *saves, (end, _) = taken["saves"]
    waits = [waited for _, waited in saves]
    figure(f"{name}: step loop waits", sum(waits) / end, "share", 0.01)
    figure(f"{name}: longest wait of {len(waits)}", max(waits), "s")
    during: list[float] = []
    others: list[float] = []
    for before, after in pairwise(taken["steps"]):
        close = any(0 <= before - begun - waited < AFTER_SECONDS for begun, waited in saves)
        (during if close else others).append(after - before)
    figure(f"{name}: a step while one is written", median(during), "s",
           anchor=("other steps", median(others)))  # fmt: skip
