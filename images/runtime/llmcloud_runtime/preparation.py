"""Everything that training and judging need, made ready: models, tokenizer, encoding, loss.

Here the two axes meet: the task says how records are read and answered, the method says what of
the model learns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llmcloud.api.contract import TrainingTask
from llmcloud.api.model import PromptTuning
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime import configuration, methods, models, origin
from llmcloud_runtime.collation import Collator
from llmcloud_runtime.data import Data
from llmcloud_runtime.encoding import Encode, Encoder, Tokenizer, encode_for
from llmcloud_runtime.errors import VocabularyMismatch
from llmcloud_runtime.evaluation import Judge
from llmcloud_runtime.extra import check_extra
from llmcloud_runtime.flops import Shape
from llmcloud_runtime.losses import Loss
from llmcloud_runtime.training import precision_of


@dataclass(frozen=True)
class Prepared:
    """What an attempt works with. `models`: lineage of what was loaded, by name."""

    model: Any
    tokenizer: Tokenizer
    tokenizer_digest: str
    encode: Encode
    collator: Collator
    loss: Loss
    judge: Judge
    length_tokens: int
    outputs: int
    models: Mapping[str, str]
    shape: Shape | None


def prepare(task: TrainingTask, learned: Data, judged: Data, scratch: Path) -> Prepared:
    """Raises ConfigurationInvalid, VocabularyMismatch, DigestMismatch, StoreError."""
    check_extra(task.extra)
    quantization = methods.quantization_for(task.method)
    source = origin.fetch_pinned(task, "model", task.model, scratch / "base")
    tokenizer = _tokenizer(task, source, learned)
    labels = list(learned.manifest.labels)
    if list(judged.manifest.labels) != labels:
        raise ConfigurationInvalid(
            f"Datasets {learned.name} and {judged.name} have other labels; give both the same "
            "spec.labels, in the same order."
        )
    model = _student(task, source, tokenizer, labels, quantization)
    length = _length(task, model, learned, judged)
    lineage = {} if source is None else {"model": source.url, "modelDigest": source.digest}
    teacher = None
    if task.distill is not None:
        taught = origin.fetch_pinned(task, "teacher", task.distill.teacher, scratch / "teacher")
        teacher = _teacher(task, taught, tokenizer, labels, model)
        assert taught is not None, "a teacher is never from scratch"
        lineage |= {"teacher": taught.url, "teacherDigest": taught.digest}
    encoder = Encoder(
        tokenizer,
        length,
        learned.labels,
        getattr(model.config, "decoder_start_token_id", None),
    )
    shifted = task.task == "causal-lm"
    collator = Collator(tokenizer.pad_token_id)
    trainable = methods.trainable(task, model)
    return Prepared(
        model=trainable,
        tokenizer=tokenizer,
        tokenizer_digest=_tokenizer_digest(task, learned),
        encode=encode_for(task.task, learned.manifest.type, encoder),
        collator=collator,
        loss=_loss(task, teacher, shifted=shifted),
        judge=Judge(
            task=task.task,
            wanted=[gate.name for gate in task.metrics],
            records=judged.validation,
            encode=encode_for(task.task, judged.manifest.type, encoder),
            encoder=encoder,
            collator=collator,
            shifted=shifted,
        ),
        length_tokens=length,
        outputs=max(len(labels), model.config.hidden_size) if labels else len(tokenizer),
        models=lineage,
        shape=models.shape_of_work(trainable),
    )


def _student(
    task: TrainingTask,
    source: origin.Source | None,
    tokenizer: Tokenizer,
    labels: list[str],
    quantization: Any,
) -> Any:
    """The model that is trained or judged, before its method changes it."""
    if source is None:
        return models.build_model(task.model, task.task, tokenizer, labels, task.seed)
    adapting = task.method in methods.ADAPTING
    return models.load_model(
        source,
        task.task,
        tokenizer,
        labels,
        seed=task.seed,
        dtype=precision_of(task.precision) if adapting else torch.float32,
        new_head=task.method != "evaluate",
        quantization=quantization,
    )


def _length(task: TrainingTask, model: Any, learned: Data, judged: Data) -> int:
    """The longest sequence in tokens. Raises ConfigurationInvalid if a packed one is longer."""
    context = models.context_tokens(model.config)
    if context is not None and task.method == "prompt-tuning":
        context -= (task.prompt_tuning or PromptTuning()).virtual_tokens
    for data in (learned, judged):
        configuration.check_length(data.name, data.manifest, context)
    length = learned.manifest.sequence_length_tokens
    return length if context is None else min(context, length)


def _tokenizer(task: TrainingTask, source: origin.Source | None, data: Data) -> Tokenizer:
    """The model's own; from scratch, the dataset's. Both know the same tokens where the dataset
    holds tokens already."""
    of_data = models.load_tokenizer(data.tokenizer, task.task) if data.tokenizer else None
    if source is None:
        if of_data is None:
            raise ConfigurationInvalid(
                f"Dataset {data.name} has no tokenizer for a model from scratch; set its "
                "spec.tokenizer."
            )
        return of_data
    tokenizer = models.load_tokenizer(source.folder, task.task)
    if data.manifest.type == "text" and of_data is not None:
        if not models.same_vocabulary(of_data, tokenizer):
            raise VocabularyMismatch(
                f"Dataset {data.name} holds tokens of another vocabulary than that of the model "
                f"{source.url}; prepare it with that (spec.tokenizer.model)."
            )
    elif of_data is not None and of_data.chat_template != tokenizer.chat_template:
        tokenizer.chat_template = of_data.chat_template
    return tokenizer


def _teacher(
    task: TrainingTask,
    source: origin.Source | None,
    tokenizer: Tokenizer,
    labels: list[str],
    student: Any,
) -> Any:
    assert source is not None, "a teacher is never from scratch"
    known = models.load_tokenizer(source.folder, task.task)
    teacher = models.load_model(
        source,
        task.task,
        known,
        labels,
        seed=task.seed,
        dtype=precision_of(task.precision),
        new_head=False,
    )
    same_width = teacher.config.vocab_size == student.config.vocab_size
    if not models.same_vocabulary(known, tokenizer) or not (same_width or labels):
        raise VocabularyMismatch(
            f"The teacher {source.url} has another vocabulary than the student; choose a teacher "
            "that was trained with the same tokenizer."
        )
    return teacher.requires_grad_(False)


def _loss(task: TrainingTask, teacher: Any, *, shifted: bool) -> Loss:
    smoothing = float(task.extra.get("label_smoothing_factor", 0))
    if task.distill is None:
        return Loss(shifted=shifted, smoothing=smoothing)
    return Loss(
        shifted=shifted,
        smoothing=smoothing,
        teacher=teacher,
        temperature=task.distill.temperature,
        alpha=task.distill.alpha,
    )


def _tokenizer_digest(task: TrainingTask, data: Data) -> str:
    """That of the dataset whose tokenizer the model has; empty where nobody knows."""
    if task.model.architecture is not None or data.manifest.type == "text":
        return data.manifest.tokenizer_digest
    return (task.model.stored.tokenizer_digest if task.model.stored else None) or ""
