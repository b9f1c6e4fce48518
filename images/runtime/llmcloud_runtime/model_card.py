"""The README.md beside a model: what it is, where it comes from, how well it does."""

from collections.abc import Mapping, Sequence

from llmcloud.api.contract import MetricResult, TrainingTask
from llmcloud.api.model import Method, TaskName

PIPELINES: Mapping[TaskName, str] = {
    "causal-lm": "text-generation",
    "masked-lm": "fill-mask",
    "seq2seq": "text2text-generation",
    "sequence-classification": "text-classification",
    "token-classification": "token-classification",
}
"""What model hubs call the tasks."""
METHODS: Mapping[Method, str] = {
    "pretrain": "trained from scratch",
    "finetune": "all of whose weights were trained further",
    "lora": "trained further by a low-rank adapter",
    "qlora": "trained further by a low-rank adapter on 4-bit weights",
    "prompt-tuning": "with a learned prompt",
    "distill": "that learned from a teacher",
    "evaluate": "that was judged and not changed",
}


def lineage_of(
    task: TrainingTask, steps: int, tokenizer_digest: str, models: Mapping[str, str]
) -> dict[str, str]:
    """What the model was made of: the manifest's `lineage`. `models`: more of it, by name."""
    lineage = {
        "job": f"{task.namespace}/{task.job}",
        "ownerUid": task.owner_uid,
        "attempt": str(task.attempt),
        "recipe": task.recipe,
        "codeVersion": task.code_version,
        "task": task.task,
        "method": task.method,
        "tokenizerDigest": tokenizer_digest,
        "steps": str(steps),
        "seed": str(task.seed),
        **models,
    }
    if task.datasets:
        learned = task.datasets
        lineage |= {
            "dataset": ", ".join(dataset.name for dataset in learned),
            "datasetVersion": ", ".join(dataset.version for dataset in learned),
        }
        if any(dataset.weight != 1 for dataset in learned):
            lineage["datasetWeight"] = ", ".join(f"{dataset.weight:g}" for dataset in learned)
    if task.evaluation_dataset is not None:
        judged = task.evaluation_dataset
        lineage |= {"evaluationDataset": judged.name, "evaluationDatasetVersion": judged.version}
    return lineage


def model_card(
    task: TrainingTask,
    lineage: Mapping[str, str],
    metrics: Mapping[str, float],
    groups: Sequence[MetricResult],
    shape: str,
) -> str:
    """Markdown with the metadata block that model hubs read. `shape`: the model in a few words."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in lineage.items())
    values = [f"| {name} | {value:.4g} |" for name, value in metrics.items()]
    values += [f"| {g.name} | {g.value:.4g} ({g.low:.4g} to {g.high:.4g}) |" for g in groups]
    measured = "\n".join(values) or "| none was asked for | |"
    note = ""
    if task.task == "causal-lm" and task.method == "pretrain":
        note = "\nIt continues text; it was not taught to follow instructions.\n"
    base = f"\nbase_model: {task.model.hub.name}" if task.model.hub is not None else ""
    return f"""---
library_name: {"peft" if task.method in ("lora", "qlora", "prompt-tuning") else "transformers"}
pipeline_tag: {PIPELINES[task.task]}{base}
---
# {task.job}

{shape}, {METHODS[task.method]}.
{note}
| Lineage | |
|---|---|
{rows}

| Metric, on held-out data | |
|---|---|
{measured}
"""
