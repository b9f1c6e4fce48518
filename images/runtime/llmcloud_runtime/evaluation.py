"""Perplexity of a model on held-out sequences."""

import math

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from llmcloud_runtime.errors import LossNotFinite
from llmcloud_runtime.shards import TokenShards

BATCH_SEQUENCES = 16
LARGEST_LOSS = 700.0
"""exp of more overflows a float."""


def perplexity(model: PreTrainedModel, sequences: TokenShards) -> float:
    """exp of the mean negative log-likelihood, in nats, of all tokens but the first of each
    sequence, computed in float32. Raises LossNotFinite."""
    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(sequences), BATCH_SEQUENCES):
            rows = range(start, min(start + BATCH_SEQUENCES, len(sequences)))
            batch = torch.stack(
                [torch.from_numpy(sequences.sequence(row).astype("int64")) for row in rows]
            ).to(model.device)
            logits = model(input_ids=batch).logits[:, :-1].float()
            targets = batch[:, 1:]
            total += cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
            count += targets.numel()
    mean = total / count
    if not mean < LARGEST_LOSS:
        raise LossNotFinite(
            f"The mean loss on held-out text is {mean}; lower spec.hyperparameters.learningRate."
        )
    return math.exp(mean)
