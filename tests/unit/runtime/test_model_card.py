"""The README.md beside a model: what made it, and how well it does."""

from typing import Any

import yaml

from llmcloud.api.contract import (
    DatasetInput,
    HubInput,
    MetricResult,
    ModelInput,
    StoreLocation,
    TrainingTask,
)
from llmcloud_runtime.model_card import lineage_of, model_card

STORE = StoreLocation(name="work", provider="aws", bucket="team-a")
VERSION = "sha256:" + "1" * 64


def task(**members: Any) -> TrainingTask:
    values: dict[str, Any] = {
        "job": "wiki",
        "namespace": "team-a",
        "owner_uid": "uid",
        "attempt": 3,
        "recipe": "sha256:r",
        "code_version": "1.2.3",
        "task": "causal-lm",
        "method": "lora",
        "model": ModelInput(hub=HubInput(name="org/base", revision="main")),
        "datasets": [DatasetInput(store=STORE, path="data/", name="corpus", version=VERSION)],
        "evaluation_dataset": DatasetInput(store=STORE, path="t/", name="test", version=VERSION),
        "output": STORE,
        "output_path": "wiki/",
        "learning_rate": 0.001,
        "warmup_steps": 0,
        "weight_decay": 0.1,
        "global_batch_size": 8,
        "precision": "auto",
        "seed": 7,
        "checkpoint_keep": 1,
        "metrics": [],
        **members,
    }
    return TrainingTask(**values)


def card(one: TrainingTask) -> str:
    models = {"model": "hf://org/base@abc", "modelDigest": "sha256:m"}
    lineage = lineage_of(one, 100, "sha256:t", models)
    groups = [MetricResult(name="biasGap.female", value=0.01, low=-0.02, high=0.04)]
    return model_card(one, lineage, {"perplexity": 12.345678}, groups, "A llama model")


def test_the_lineage_names_everything_that_made_the_model() -> None:
    text = card(task())
    for row in (
        "| job | team-a/wiki |",
        "| attempt | 3 |",
        "| codeVersion | 1.2.3 |",
        "| dataset | corpus |",
        f"| datasetVersion | {VERSION} |",
        f"| evaluationDatasetVersion | {VERSION} |",
        "| model | hf://org/base@abc |",
        "| modelDigest | sha256:m |",
        "| steps | 100 |",
        "| perplexity | 12.35 |",
        "| biasGap.female | 0.01 (-0.02 to 0.04) |",
    ):
        assert row in text.splitlines(), row


def test_hubs_read_the_metadata_block() -> None:
    block = yaml.safe_load(card(task()).split("---")[1])
    assert block == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "base_model": "org/base",
    }
    from_store = task(model=ModelInput(), method="finetune")
    assert "base_model" not in yaml.safe_load(card(from_store).split("---")[1])
