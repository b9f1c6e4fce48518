"""The finished model: a folder in the Hugging Face layout, uploaded, recorded, made visible.

Weights are safetensors. The manifest is written last, and only if there is none.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel

from llmcloud.api.base import canonical_json
from llmcloud.api.contract import MetricResult, ModelKind, ModelManifest, TrainingTask
from llmcloud.cloud.base import Store
from llmcloud.cloud.manifest import FILE_MODE, files_digest, upload_folder
from llmcloud_runtime.checkpoints import MODELS
from llmcloud_runtime.encoding import Tokenizer
from llmcloud_runtime.model_card import model_card

GENERATING = ("causal-lm", "seq2seq")


def write_model(
    model: PreTrainedModel | PeftModel,
    tokenizer: Tokenizer,
    task: TrainingTask,
    base_url: str,
    folder: Path,
) -> ModelKind:
    """Write weights, configuration and tokenizer below `folder`; whether it is whole."""
    if task.model.architecture is not None and task.task in GENERATING:
        model.generation_config = _generation(model.config, tokenizer, sampled=task.task)
    tokenizer.save_pretrained(folder)
    if not isinstance(model, PeftModel):
        model.save_pretrained(folder)
        return "full"
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_url
    model.save_pretrained(folder, save_embedding_layers=False)
    return "adapter"


def merged(task: TrainingTask, model: PreTrainedModel | PeftModel) -> PreTrainedModel | PeftModel:
    """The adapter in the model's own weights, where lora.merge wants it."""
    if isinstance(model, PeftModel) and task.lora is not None and task.lora.merge:
        return model.merge_and_unload()
    return model


def write_report(
    task: TrainingTask,
    lineage: Mapping[str, str],
    metrics: Mapping[str, float],
    groups: Sequence[MetricResult],
    shape: str,
    folder: Path,
) -> None:
    """Write README.md and evaluation.json, and let everyone read the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    card = model_card(task, lineage, metrics, groups, shape)
    (folder / "README.md").write_text(card, encoding="utf-8")
    report = {"metrics": dict(metrics), "groups": [group.wire() for group in groups]}
    (folder / "evaluation.json").write_bytes(canonical_json(report))
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(FILE_MODE)


def upload_model(
    store: Store,
    task: TrainingTask,
    folder: Path,
    kind: ModelKind,
    lineage: Mapping[str, str],
    metrics: Mapping[str, float],
    groups: Sequence[MetricResult],
    passed: bool,
) -> ModelManifest:
    """Upload the folder below the attempt's own path; returns the manifest, not yet published."""
    path = f"{MODELS}a{task.attempt}/"
    files = upload_folder(store, folder, task.output_path + path)
    return ModelManifest(
        digest=files_digest(files),
        recipe=task.recipe,
        attempt=task.attempt,
        kind=kind,
        path=path,
        files=files,
        lineage=dict(lineage),
        metrics=dict(metrics),
        groups=list(groups),
        passed=passed,
    )


def shape_of(model: Any) -> str:
    """A model in a few words, for its card."""
    own = model.get_base_model() if isinstance(model, PeftModel) else model
    parameters = own.num_parameters()
    return f"A {own.config.model_type} model of {parameters:,} parameters"


def _generation(config: Any, tokenizer: Tokenizer, *, sampled: str) -> GenerationConfig:
    """A language model is sampled from as it is; what translates gives its best answer."""
    choice = {"do_sample": True, "temperature": 1.0, "top_k": 0} if sampled == "causal-lm" else {}
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=getattr(config, "decoder_start_token_id", None),
        **choice,
    )
