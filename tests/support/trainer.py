"""Training tasks of any method and task, run in the runtime image without a cluster."""

import shutil
import subprocess
from collections.abc import Sequence
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
from tests.support.ranks import RUN_SECONDS, Runtime

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

    def __init__(self, runtime: Runtime, location: StoreLocation) -> None:
        self._runtime = runtime
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
            "dataset": dataset,
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
        folder = self._folder / task.job
        (folder / "scratch").mkdir(parents=True)
        inside = f"/work/{WORK}/{task.job}"
        environment = {
            ENV_TASK: task.model_dump_json(by_alias=True, exclude_none=True),
            "LLMCLOUD_TERMINATION_LOG": f"{inside}/said.json",
            "LLMCLOUD_REPORT_PORT": "0",
            "LLMCLOUD_SCRATCH": f"{inside}/scratch",
        }
        process = self._runtime.start(folder / "log", "llmcloud_runtime.train", environment)
        try:
            code = process.wait(seconds)
            log = (folder / "log").read_text()
            said = folder / "said.json"
            assert said.exists(), log[-3000:]
            outcome = Outcome.model_validate_json(said.read_bytes())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            shutil.rmtree(folder)
        return Run(task, code, outcome, log)

    def _inside(self, location: StoreLocation) -> StoreLocation:
        """The store, with its keys where the image has them."""
        return location.model_copy(update={"credentials_path": f"/work/{WORK}/keys"})
