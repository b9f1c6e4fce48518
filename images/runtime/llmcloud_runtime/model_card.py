"""The README.md beside a model: what it is, where it comes from, how well it predicts."""

from collections.abc import Mapping

from llmcloud.api.contract import TrainingTask


def lineage_of(task: TrainingTask, steps: int, tokenizer_digest: str) -> dict[str, str]:
    """What the model was made of: the manifest's `lineage`."""
    return {
        "job": f"{task.namespace}/{task.job}",
        "ownerUid": task.owner_uid,
        "attempt": str(task.attempt),
        "recipe": task.recipe,
        "codeVersion": task.code_version,
        "dataset": task.dataset_name,
        "datasetVersion": task.dataset_version,
        "tokenizerDigest": tokenizer_digest,
        "steps": str(steps),
        "seed": str(task.seed),
    }


def model_card(
    task: TrainingTask, lineage: Mapping[str, str], metrics: Mapping[str, float], parameters: int
) -> str:
    """Markdown with the metadata block that model hubs read."""
    shape = task.architecture
    rows = "\n".join(f"| {name} | {value} |" for name, value in lineage.items())
    values = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    return f"""---
library_name: transformers
pipeline_tag: text-generation
---
# {task.job}

A {shape.family} language model of {parameters:,} parameters ({shape.layers} layers, hidden size
{shape.hidden_size}, {shape.heads} heads, context of {shape.context_length} tokens), trained from
scratch by next-token prediction. It continues text; it was not taught to follow instructions. Its
chat template is the messages' contents, one after the other.

| Lineage | |
|---|---|
{rows}

| Metric, on held-out text | |
|---|---|
{values or "| none was asked for | |"}
"""
