"""The finished model: a folder in the Hugging Face layout, uploaded, recorded, made visible.

Weights are safetensors. The manifest is written last, and only if there is none.
"""

from collections.abc import Mapping
from pathlib import Path

from transformers import AutoTokenizer, GenerationConfig, PreTrainedModel

from llmcloud.api.base import canonical_json
from llmcloud.api.contract import DatasetManifest, ModelManifest, TrainingTask
from llmcloud.cloud.base import Store
from llmcloud.cloud.manifest import FILE_MODE, files_digest, upload_folder
from llmcloud_runtime.model_card import model_card

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
)
"""A base model continues text: the contents, one per line, and nothing after the last."""


def write_model(
    model: PreTrainedModel,
    tokenizer_folder: Path,
    task: TrainingTask,
    dataset: DatasetManifest,
    lineage: Mapping[str, str],
    metrics: Mapping[str, float],
    folder: Path,
) -> None:
    """Write all files of the model below `folder`, readable by everyone."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = task.architecture.context_length
    model.generation_config = GenerationConfig(
        bos_token_id=dataset.end_of_text_id,
        eos_token_id=dataset.end_of_text_id,
        pad_token_id=dataset.end_of_text_id,
        do_sample=True,
        temperature=1.0,
        top_k=0,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = model_card(task, lineage, metrics, model.num_parameters())
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "evaluation.json").write_bytes(canonical_json({"metrics": dict(metrics)}))
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(FILE_MODE)


def upload_model(
    store: Store,
    task: TrainingTask,
    folder: Path,
    lineage: Mapping[str, str],
    metrics: Mapping[str, float],
    passed: bool,
) -> ModelManifest:
    """Upload the folder below the attempt's own path; returns the manifest, not yet published."""
    path = f"model/a{task.attempt}/"
    files = upload_folder(store, folder, task.output_path + path)
    return ModelManifest(
        digest=files_digest(files),
        recipe=task.recipe,
        attempt=task.attempt,
        kind="full",
        path=path,
        files=files,
        lineage=dict(lineage),
        metrics=dict(metrics),
        passed=passed,
    )
