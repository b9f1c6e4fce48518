"""Measuring a model on held-out records, and simple answers to compare it with."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy

from llmcloud.api.contract import MetricResult
from llmcloud.api.model import METRICS, TaskName
from llmcloud_runtime import bias, metrics
from llmcloud_runtime.collation import Batch, Collator
from llmcloud_runtime.encoding import IGNORED, Encode, Encoder, Features, Records
from llmcloud_runtime.losses import aligned

BATCH_EXAMPLES = 16
SEED = 0
"""Of what is random in held-out examples (which tokens are masked): the same for every model."""


@dataclass(frozen=True)
class Measured:
    """Metrics by name; of groups with intervals; of simple answers under names of their own."""

    metrics: Mapping[str, float]
    groups: list[MetricResult] = field(default_factory=list)
    baselines: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """Measures models of one task on the same records.

    `shifted`: every position predicts the next one's label.
    """

    task: TaskName
    wanted: Sequence[str]
    records: Records
    encode: Encode
    encoder: Encoder
    collator: Collator
    shifted: bool

    def measure(self, model: Any) -> Measured:
        """All wanted metrics of the model. Raises LossNotFinite."""
        model.eval()
        found: dict[str, float] = {}
        groups: list[MetricResult] = []
        if "perplexity" in METRICS[self.task]:
            found["perplexity"] = self._perplexity(model)
        else:
            found |= metrics.classification(*self._classes(model))
        if self.task == "seq2seq" and any(name != "perplexity" for name in self.wanted):
            targets = [record["target"] for record in self.records]
            found |= metrics.generation(self._texts(model, targets), targets)
        if bias.METRIC in self.wanted:
            texts = [record["text"] for record in self.records]
            groups = bias.gaps(texts, lambda them: self._probabilities(model, them))
            found[bias.METRIC] = bias.largest(groups)
        return Measured({n: v for n, v in found.items() if n in self.wanted}, groups)

    def base(self, model: Any) -> dict[str, float]:
        """The model without its adapter, under names that begin with base."""
        with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            found = self.measure(model).metrics
        return prefixed("base", found)

    def simple(self, training: Iterable[Any]) -> dict[str, float]:
        """What answers without looking reach: the commonest label or text, or the source. None is
        known of chats."""
        if self.task == "seq2seq":
            targets = [record["target"] for record in self.records]
            common = str(metrics.most_common(record["target"] for record in training))
            copied = [record["source"] for record in self.records]
            return self._named("copy", metrics.generation(copied, targets)) | self._named(
                "mostFrequent", metrics.generation([common] * len(targets), targets)
            )
        if "perplexity" in METRICS[self.task]:
            return {}
        if self.task == "sequence-classification":
            major = self._class_of(str(metrics.most_common(r["label"] for r in training)))
            wanted = [self._class_of(record["label"]) for record in self.records]
        else:
            major = self._class_of(str(metrics.most_common(t for r in training for t in r["tags"])))
            wanted = [self._class_of(tag) for record in self.records for tag in record["tags"]]
        return self._named("majority", metrics.classification([major] * len(wanted), wanted))

    def _named(self, prefix: str, found: Mapping[str, float]) -> dict[str, float]:
        return prefixed(prefix, {n: v for n, v in found.items() if n in self.wanted})

    def _class_of(self, label: str) -> int:
        return self.encoder.labels[label]

    def _features(self) -> Iterator[Features]:
        rows = range(len(self.records))
        return (self.encode(self.records[row], (SEED, row)) for row in rows)

    def _batches(self, features: Iterator[Features], model: Any) -> Iterator[Batch]:
        batch: list[Features] = []
        for each in features:
            batch.append(each)
            if len(batch) == BATCH_EXAMPLES:
                yield self._tensors(batch, model)
                batch = []
        if batch:
            yield self._tensors(batch, model)

    def _tensors(self, batch: list[Features], model: Any) -> Batch:
        return {name: value.to(model.device) for name, value in self.collator(batch).items()}

    def _answers(self, model: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Logits and labels of every batch, in float32, without what is ignored."""
        with torch.inference_mode():
            for batch in self._batches(self._features(), model):
                labels = batch.pop("labels")
                logits, wanted = aligned(model(**batch).logits, labels, shifted=self.shifted)
                known = wanted != IGNORED
                yield logits[known], wanted[known]

    def _perplexity(self, model: Any) -> float:
        total, count = 0.0, 0
        for logits, wanted in self._answers(model):
            total += cross_entropy(logits, wanted, reduction="sum").item()
            count += wanted.numel()
        return metrics.perplexity(total, count)

    def _classes(self, model: Any) -> tuple[list[int], list[int]]:
        said: list[int] = []
        meant: list[int] = []
        for logits, wanted in self._answers(model):
            said += logits.argmax(-1).tolist()
            meant += wanted.tolist()
        return said, meant

    def _texts(self, model: Any, targets: Sequence[str]) -> list[str]:
        """What the model writes for every source, greedily, at most twice the longest target."""
        tokenizer = self.encoder.tokenizer
        longest = max(len(self.encoder.framed(target)) for target in targets)
        written: list[str] = []
        with torch.inference_mode():
            for batch in self._batches(self._features(), model):
                read = {n: v for n, v in batch.items() if n in ("input_ids", "attention_mask")}
                ids = model.generate(
                    **read, max_new_tokens=2 * longest, do_sample=False, num_beams=1
                )
                written += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return written

    def _probabilities(self, model: Any, texts: Sequence[str]) -> list[list[float]]:
        found: list[list[float]] = []
        features: Iterator[Features] = ({"input_ids": self.encoder.framed(text)} for text in texts)
        with torch.inference_mode():
            for batch in self._batches(features, model):
                found += model(**batch).logits.float().softmax(-1).tolist()
        return found


def prefixed(prefix: str, found: Mapping[str, float]) -> dict[str, float]:
    """accuracy becomes majorityAccuracy."""
    return {f"{prefix}{name[0].upper()}{name[1:]}": value for name, value in found.items()}
