"""What training leaves: a model that others can load, taken again by who asks for the same; or,
where training went astray, the last good checkpoint and a sentence."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmcloud.api.contract import ExitCode, ModelManifest, Outcome
from llmcloud.api.names import Reason
from llmcloud.cloud.manifest import MANIFEST, download, files_digest, read_manifest
from tests.support.ranks import VERSION, VOCABULARY, Runtime, Training

Job = Callable[..., Training]
RECIPE = "sha256:" + "5" * 64
MEASURED: dict[str, Any] = {
    "metrics": [{"name": "perplexity", "max": 10 * VOCABULARY}],
    "peak_teraflops": {"float32": 0.1},
    "recipe": RECIPE,
}
LAYOUT = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "evaluation.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def trained(job: Job, image: Runtime) -> tuple[Training, Outcome]:
    """A job that came to its end. Not forked: what its start took is among what it tells."""
    training = job("result", **MEASURED)
    training.runtime = image
    return training, training.run(1)


def manifest_of(training: Training) -> ModelManifest:
    found = read_manifest(training.store, f"{training.name}/{MANIFEST}", ModelManifest)
    assert found is not None
    return found


def tensors(file: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """The float32 tensors of a safetensors file: a header of JSON, then their bytes."""
    body = file.read_bytes()
    (length,) = struct.unpack("<Q", body[:8])
    header = json.loads(body[8 : 8 + length])
    found = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            start, end = entry["data_offsets"]
            found[name] = np.frombuffer(body[8 + length :][start:end], dtype="<f4")
    return found


def test_the_model_is_a_folder_that_others_load(
    trained: tuple[Training, Outcome], tmp_path: Path
) -> None:
    training, _ = trained
    manifest = manifest_of(training)
    assert {file.key for file in manifest.files} == LAYOUT
    assert manifest.digest == files_digest(manifest.files)
    download(training.store, f"{training.name}/{manifest.path}", manifest.files, tmp_path)
    weights = tensors(tmp_path / "model.safetensors")
    assert weights["model.embed_tokens.weight"].size == VOCABULARY * 32
    assert all(np.isfinite(values).all() for values in weights.values())
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation["eos_token_id"] == 0
    assert "messages" in (tmp_path / "chat_template.jinja").read_text()


def test_its_card_says_what_made_it_and_how_well_it_does(
    trained: tuple[Training, Outcome], tmp_path: Path
) -> None:
    training, _ = trained
    manifest = manifest_of(training)
    download(training.store, f"{training.name}/{manifest.path}", manifest.files, tmp_path)
    card = (tmp_path / "README.md").read_text().splitlines()
    for row in (
        "| job | n/result |",
        "| attempt | 1 |",
        f"| recipe | {RECIPE} |",
        "| codeVersion | test |",
        f"| datasetVersion | {VERSION} |",
        "| steps | 24 |",
    ):
        assert row in card, row
    (perplexity,) = [line for line in card if line.startswith("| perplexity |")]
    assert f"{manifest.metrics['perplexity']:.4g}" in perplexity
    assert manifest.lineage["attempt"] == "1"


def test_its_end_tells_how_it_went(trained: tuple[Training, Outcome]) -> None:
    training, outcome = trained
    result, progress = outcome.training, outcome.progress
    assert result is not None
    assert progress is not None
    assert (result.steps, result.passed) == (24, True)
    assert (progress.step, progress.total_steps, progress.percent) == (24, 24, 100)
    assert progress.tokens_seen == 24 * 8 * 32
    assert progress.loss is not None
    assert progress.mfu is not None
    assert 0 < progress.mfu < 1
    assert progress.checkpoint is not None
    assert progress.checkpoint.step == 24
    spent = progress.spent
    assert spent is not None
    assert training.past().checkpoints[0].productive_seconds == spent.productive_seconds
    told = spent.startup_seconds + spent.productive_seconds + spent.checkpoint_seconds
    assert 0 < told <= spent.elapsed_seconds + 2


def test_a_result_of_the_same_recipe_is_taken_without_training(
    trained: tuple[Training, Outcome], job: Job
) -> None:
    training, outcome = trained
    before = sorted(info.path for info in training.store.list(f"{training.name}/"))
    other = job("result", **MEASURED, owner_uid="uid-another")
    again = other.run(1)
    assert again.training is not None
    assert outcome.training is not None
    assert again.training.reused
    assert again.training.model_digest == outcome.training.model_digest
    assert again.training.metrics == outcome.training.metrics
    assert again.progress is not None
    assert again.progress.step is None
    assert sorted(info.path for info in training.store.list(f"{training.name}/")) == before


def test_another_recipe_finds_the_output_occupied(
    trained: tuple[Training, Outcome], job: Job
) -> None:
    other = job("result", **(MEASURED | {"recipe": "sha256:" + "6" * 64}), owner_uid="uid-another")
    ranks = other.start(2)
    assert other.finish(ranks) == [ExitCode.CONFIGURATION]
    assert ranks[0].outcome().reason is Reason.OUTPUT_OCCUPIED


def test_a_loss_that_is_no_number_ends_training_and_the_last_good_checkpoint_is_kept(
    job: Job, tmp_path: Path
) -> None:
    """The learning rate rises until weights overflow. Every step may be saved, and of a run of this
    length only every tenth is logged."""
    training = job(
        "astray",
        max_steps=1000,
        learning_rate=1e20,
        warmup_steps=24,
        checkpoint_every_steps=1,
    )
    ranks = training.start(1)
    assert training.finish(ranks) == [ExitCode.CONFIGURATION]
    outcome = ranks[0].outcome()
    assert outcome.reason is Reason.LOSS_NOT_FINITE
    found = re.search(
        r"at step (\d+) of 1000.*The checkpoint of step (\d+) is kept", outcome.message
    )
    assert found is not None, outcome.message
    failed, kept = int(found[1]), int(found[2])
    newest = training.past().checkpoints[0]
    assert newest.step == kept < failed
    assert outcome.progress is not None
    assert outcome.progress.checkpoint is not None
    assert outcome.progress.checkpoint.step == kept
    download(training.store, f"{training.name}/{newest.path}", newest.files, tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        for name, values in tensors(file).items():
            assert np.isfinite(values).all(), (file, name)


def test_a_teacher_with_another_vocabulary_is_refused_before_the_first_step(
    trained: tuple[Training, Outcome], job: Job
) -> None:
    training, _ = trained
    manifest = manifest_of(training)
    for key in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        body = training.store.get(f"{training.name}/{manifest.path}{key}")
        body = body.replace(b'"t7"', b'"other"') if key == "tokenizer.json" else body
        training.store.put(f"teacher/{key}", body)
    store = training.task(1, 1).output
    taught = {"stored": {"store": store.wire(), "path": "teacher/"}}
    distill = {"teacher": taught, "temperature": 2.0, "alpha": 0.5}
    student = job("student", method="distill", distill=distill)
    ranks = student.start(1)
    assert student.finish(ranks) == [ExitCode.CONFIGURATION]
    outcome = ranks[0].outcome()
    assert outcome.reason is Reason.VOCABULARY_MISMATCH
    assert "choose a teacher" in outcome.message
    assert outcome.progress is not None
    assert outcome.progress.step is None
    assert student.past().checkpoints == []
