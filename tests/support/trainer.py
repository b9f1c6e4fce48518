"""Training tasks of any method and task, run in the runtime image without a cluster."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llmcloud.api.base import digest
from llmcloud.api.contract import (
    ENV_TASK,
    Architecture,
    DatasetInput,
    MetricGate,
    ModelInput,
    Outcome,
    StoredModel,
    StoreLocation,
    TrainingTask,
)
from tests.support.ranks import RUN_SECONDS, Rank, Runtime

WORK = "methods"


@dataclass(frozen=True)
class Run:
    """How a run ended, and its log."""

    task: TrainingTask
    code: int
    outcome: Outcome
    log: str

    @property
    def metrics(self) -> dict[str, float]:
        """What the status would show: metrics and baselines by name."""
        result = self.outcome.training
        assert result is not None, self.log[-3000:]
        return {one.name: one.value for one in (*result.metrics, *result.baselines)}

    @property
    def model(self) -> ModelInput:
        """The model that the run made, as another task names it."""
        result = self.outcome.training
        assert result is not None, self.log[-3000:]
        stored = StoredModel(
            store=self.task.output,
            path=self.task.output_path,
            digest=result.model_digest,
            tokenizer_digest=result.tokenizer_digest,
        )
        return ModelInput(stored=stored)


def architecture(family: str, **sizes: int) -> ModelInput:
    """A model from scratch."""
    shape = {"hidden_size": 64, "layers": 2, "heads": 4, "context_length": 64} | sizes
    return ModelInput(architecture=Architecture.model_validate({"family": family, **shape}))


class Trainer:
    """Runs one task after the other against one store."""

    def __init__(
        self, runtime: Runtime, location: StoreLocation, module: str = "llmcloud_runtime.train"
    ) -> None:
        self._runtime, self._module = runtime, module
        self._folder = runtime.root / "work" / WORK
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(str(location.credentials_path), self._folder / "keys")
        self._store = self._inside(location)

    def task(
        self,
        name: str,
        model: ModelInput,
        dataset: DatasetInput | None,
        metrics: Sequence[str] = (),
        **members: Any,
    ) -> TrainingTask:
        """A task with small defaults, writing below `name`/."""
        if dataset is not None:
            dataset = dataset.model_copy(update={"store": self._inside(dataset.store)})
        values: dict[str, Any] = {
            "job": name,
            "namespace": "n",
            "owner_uid": f"uid-{name}",
            "attempt": 1,
            "code_version": "test",
            "task": "causal-lm",
            "method": "pretrain",
            "model": model,
            "datasets": [dataset] if dataset is not None else [],
            "output": self._store,
            "output_path": f"{name}/",
            "learning_rate": 0.003,
            "warmup_steps": 0,
            "weight_decay": 0.01,
            "global_batch_size": 16,
            "precision": "float32",
            "seed": 0,
            "checkpoint_keep": 1,
            "metrics": [MetricGate.model_validate({"name": metric}) for metric in metrics],
            **members,
        }
        recipe = digest(TrainingTask(**values, recipe="").wire())
        return TrainingTask(**values, recipe=recipe)

    def run(self, task: TrainingTask, seconds: float = RUN_SECONDS) -> Run:
        """Run one attempt to its end; what it wrote on disk is removed."""
        with self.started(task) as attempt:
            code = attempt.process.wait(seconds)
            return Run(task, code, attempt.outcome(), attempt.log.read_text())

    @contextmanager
    def started(self, task: TrainingTask) -> Iterator[Rank]:
        """One attempt, which is killed if it still runs at the end."""
        folder = self._folder / task.job
        (folder / "scratch").mkdir(parents=True)
        inside = f"/work/{WORK}/{task.job}"
        environment = {
            ENV_TASK: task.model_dump_json(by_alias=True, exclude_none=True),
            "LLMCLOUD_TERMINATION_LOG": f"{inside}/said.json",
            "LLMCLOUD_REPORT_PORT": "0",
            "LLMCLOUD_SCRATCH": f"{inside}/scratch",
        }
        process = self._runtime.start(folder / "log", self._module, environment)
        try:
            yield Rank(process, folder / "log", folder / "said.json")
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder)

    def _inside(self, location: StoreLocation) -> StoreLocation:
        """The store, with its keys where the image has them."""
        return location.model_copy(update={"credentials_path": f"/work/{WORK}/keys"})
