"""Trainer processes without a cluster: one for each rank, against a store on this machine."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llmcloud.api.base import digest
from llmcloud.api.contract import (
    ENV_TASK,
    Architecture,
    DatasetInput,
    DatasetManifest,
    ModelInput,
    Outcome,
    ShardEntry,
    StoreLocation,
    TrainingTask,
)
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.ledger import History, history
from llmcloud.cloud.manifest import MANIFEST, upload_folder, version_path
from tests.contract.servers import free_port
from tests.localcluster import image_store
from tests.localcluster.image_build import build_images

VOCABULARY, LENGTH, SEQUENCES = 256, 32, 512
VERSION = "sha256:" + "1" * 64
RUN_SECONDS = 240
PYTHON = "/opt/venv/bin/python"


class Process(Protocol):
    """What of subprocess.Popen a test needs."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


@dataclass
class Runtime:
    """The root file system of the runtime image, whose interpreter has torch."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(
        self, log: Path, module: str, environment: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> Process:
        """Run a module inside; `log` lies there too."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(["-m", module, *arguments]),
                env=self.variables(environment),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command that runs Python inside with `arguments`."""
        return ["/usr/sbin/chroot", str(self.root), PYTHON, *arguments]

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of a process inside."""
        fixed = {"PATH": "/opt/venv/bin:/usr/bin:/bin", "HOME": "/tmp", "OMP_NUM_THREADS": "1",
                 "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}  # fmt: skip
        return {**fixed, **self.environment, **environment}


@contextmanager
def runtime_image() -> Iterator[Runtime]:
    """The runtime image of this working tree, mounted.

    At a place of our own: whoever else uses the store of images may unmount it there.
    """
    reference = build_images(["runtime"])["runtime"]
    container = image_store.call("from", "--pull=missing", "--tls-verify=false", reference)
    with tempfile.TemporaryDirectory(prefix="llmcloud-runtime-") as name:
        try:
            subprocess.run(
                ["mount", "--bind", image_store.call("mount", container), name], check=True
            )
            (Path(name) / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
            yield Runtime(Path(name))
        finally:
            subprocess.run(["umount", name], check=True)
            image_store.call("rm", container)


@dataclass
class Rank:
    """One process of an attempt."""

    process: Process
    log: Path
    said: Path

    def outcome(self) -> Outcome:
        """How it ended. Raises AssertionError with its log if it did not say."""
        assert self.said.exists(), self.log.read_text()[-3000:]
        return Outcome.model_validate_json(self.said.read_bytes())


class Training:
    """A small job that is trained attempt by attempt."""

    def __init__(
        self, runtime: Runtime, location: StoreLocation, name: str, **members: Any
    ) -> None:
        self.runtime, self.location, self.name = runtime, location, name
        self.store: Store = open_store(location)
        self._members = members
        self._inside = runtime.root / "work" / name
        shutil.rmtree(self._inside, ignore_errors=True)
        keys = self._inside / "keys"
        shutil.copytree(str(location.credentials_path), keys)

    @property
    def recipe(self) -> str:
        """Of the members, unless it is one of them."""
        return str(self._members.get("recipe") or digest(self._members))

    @property
    def _store_inside(self) -> StoreLocation:
        return self.location.model_copy(update={"credentials_path": f"/work/{self.name}/keys"})

    def dataset(self, name: str = "data", weight: float = 1.0) -> DatasetInput:
        """A dataset that `publish_dataset` made."""
        return DatasetInput(
            store=self._store_inside, path=f"{name}/", name=name, version=VERSION, weight=weight
        )

    def task(self, attempt: int, ranks: int) -> TrainingTask:
        inside = self._store_inside
        mixed: dict[str, float] = self._members.get("mixed") or {"data": 1.0}
        values: dict[str, Any] = {
            "job": self.name,
            "namespace": "n",
            "owner_uid": f"uid-{self.name}",
            "attempt": attempt,
            "recipe": self.recipe,
            "code_version": "test",
            "task": "causal-lm",
            "method": "pretrain",
            "model": ModelInput(
                architecture=Architecture(
                    family="llama", hidden_size=32, layers=2, heads=2, context_length=LENGTH
                )
            ),
            "datasets": [self.dataset(name, weight) for name, weight in mixed.items()],
            "output": inside,
            "output_path": f"{self.name}/",
            "learning_rate": 0.003,
            "warmup_steps": 5,
            "weight_decay": 0.1,
            "global_batch_size": 8,
            "precision": "float32",
            "seed": 7,
            "checkpoint_keep": 2,
            "metrics": [],
            "nodes": ranks,
            "leader": "127.0.0.1" if ranks > 1 else "",
            **{name: value for name, value in self._members.items() if name != "mixed"},
        }
        return TrainingTask(**values)

    def start(self, attempt: int, ranks: int = 1) -> list[Rank]:
        """Start every rank of an attempt."""
        task = self.task(attempt, ranks)
        port = str(free_port())
        started = []
        for rank in range(ranks):
            name = f"a{attempt}-{rank}"
            said = self._inside / f"{name}.json"
            log = self._inside / f"{name}.log"
            scratch = self._inside / f"scratch-{name}"
            scratch.mkdir()
            inside = Path("/work") / self.name
            environment = {
                ENV_TASK: task.model_dump_json(by_alias=True, exclude_none=True),
                "JOB_COMPLETION_INDEX": str(rank),
                "LLMCLOUD_MEETING_PORT": port,
                "LLMCLOUD_REPORT_PORT": str(free_port()),
                "LLMCLOUD_TERMINATION_LOG": str(inside / said.name),
                "LLMCLOUD_SCRATCH": str(inside / scratch.name),
            }
            process = self.runtime.start(log, "llmcloud_runtime.train", environment)
            started.append(Rank(process, log, said))
        return started

    def finish(self, ranks: Sequence[Rank], seconds: float = RUN_SECONDS) -> list[int]:
        """Wait for every rank; their exit codes."""
        deadline = time.monotonic() + seconds
        try:
            return [r.process.wait(max(1, deadline - time.monotonic())) for r in ranks]
        finally:
            for rank in ranks:
                if rank.process.poll() is None:
                    rank.process.kill()
                    rank.process.wait()

    def run(self, attempt: int, ranks: int = 1) -> Outcome:
        """Run an attempt to its end. Raises AssertionError with the logs if it fails."""
        started = self.start(attempt, ranks)
        codes = self.finish(started)
        logs = "\n".join(rank.log.read_text()[-3000:] for rank in started)
        assert set(codes) == {0}, logs
        return started[0].outcome()

    def past(self) -> History:
        """What the ledger says."""
        from llmcloud.api.contract import LedgerEntry

        slots = sorted(info.path for info in self.store.list(f"{self.name}/ledger/"))
        entries = [LedgerEntry.model_validate_json(self.store.get(path)) for path in slots]
        return history(entries, self.recipe)

    def await_checkpoint(self, ranks: Sequence[Rank], step: int) -> int:
        """Wait for a durable checkpoint of at least `step`; its step."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            steps = [entry.step for entry in self.past().checkpoints]
            if steps and steps[0] >= step:
                return steps[0]
            for rank in ranks:
                assert rank.process.poll() is None, rank.log.read_text()[-3000:]
            time.sleep(0.1)
        raise AssertionError(f"no checkpoint of step {step} within {RUN_SECONDS} s")

    def losses(self) -> dict[int, float]:
        """The loss of every step, as the last checkpoint remembers it."""
        last = self.past().checkpoints[0]
        state = json.loads(self.store.get(f"{self.name}/{last.path}trainer_state.json"))
        return {row["step"]: row["loss"] for row in state["log_history"] if "loss" in row}


def send(ranks: Sequence[Rank], number: signal.Signals) -> None:
    """A signal to all of them."""
    for rank in ranks:
        rank.process.send_signal(number)


def publish_dataset(
    location: StoreLocation, folder: Path, name: str = "data", seed: int = 3
) -> None:
    """A dataset version of drawn tokens that have something to learn, below `name`/."""
    draw = np.random.Generator(np.random.PCG64(seed))
    steps = draw.integers(1, 4, (SEQUENCES, LENGTH))
    tokens = (np.cumsum(steps, axis=1) % VOCABULARY).astype("<u4")
    (folder / "train").mkdir(parents=True)
    (folder / "validation").mkdir()
    (folder / "tokenizer").mkdir()
    tokens.tofile(folder / "train" / "00000.bin")
    tokens[:8].tofile(folder / "validation" / "00000.bin")
    _write_tokenizer(folder / "tokenizer")
    store = open_store(location)
    path = version_path(f"{name}/", VERSION)
    files = {entry.key: entry for entry in upload_folder(store, folder, path)}

    def shard(key: str, sequences: int) -> ShardEntry:
        return ShardEntry(sequences=sequences, **files[key].model_dump())

    manifest = DatasetManifest(
        version=VERSION,
        recipe=VERSION,
        attempt=1,
        sources=[],
        documents=1,
        validation_documents=1,
        tokens=tokens.size,
        validation_tokens=8 * LENGTH,
        sequence_length_tokens=LENGTH,
        vocabulary_size=VOCABULARY,
        end_of_text_id=0,
        rejected={},
        tokenizer_digest=VERSION,
        tokenizer=[entry for key, entry in files.items() if key.startswith("tokenizer/")],
        train=[shard("train/00000.bin", SEQUENCES)],
        validation=[shard("validation/00000.bin", 8)],
    )
    store.put(path + MANIFEST, manifest.model_dump_json(by_alias=True).encode(), if_absent=True)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {f"t{number}": number for number in range(VOCABULARY)}
    Tokenizer(WordLevel(words, unk_token="t0")).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "t0"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
