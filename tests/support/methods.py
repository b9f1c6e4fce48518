"""One small run of every method and task on real labels, beside answers that are no straw.

Each case trains from scratch or from a model of a case before it, within seconds on one CPU core,
and says what it reached and what others reach on the same held-out records.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmcloud.api.contract import DatasetInput, DistillTask, ModelInput
from llmcloud.api.dataset import DatasetType
from llmcloud.api.model import PromptTuning
from llmcloud.cloud.base import Store
from tests.support.anchors import last_words, linear_accuracy, split_of, word_in_context
from tests.support.datasets import prepared
from tests.support.labels import (
    PACKAGES,
    TAGS,
    Record,
    following,
    modules,
    passages,
    questions,
    tagged_code,
    translations,
)
from tests.support.trainer import Run, Trainer, architecture

DOCUMENTS: Final = 120
DOCUMENT_CHARACTERS: Final = 6000
PAIR_CHARACTERS: Final = 24
LABELED: Final = 12_000
PASSAGES: Final = 500
CODE_RUNS: Final = 3000
VOCABULARIES: Final = {"package": 8192, "pairs": 300}
"""Where it is not 1024 tokens: whole words tell packages apart, and letters are transcribed."""
CASE_SECONDS: Final = 1200
"""How long a run may take beside others on the same cores."""
OTHER_PACKAGE: Final = "email"
"""What a model of the library's single modules is tuned to."""


@dataclass(frozen=True)
class Score:
    """What was reached, and what others reach; `lower`: less is better."""

    metric: str
    value: float
    anchors: Mapping[str, float]
    lower: bool = False

    @property
    def better(self) -> bool:
        """Than every anchor."""
        others = self.anchors.values()
        return self.value < min(others) if self.lower else self.value > max(others)


@dataclass
class Methods:
    """What the cases of one seed share: datasets and base models, each made once."""

    store: Store
    trainer: Trainer
    seed: int
    _datasets: dict[str, DatasetInput] = field(default_factory=dict)
    _base: Run | None = None

    def dataset(
        self, name: str, type_: DatasetType, records: list[Record], labels: Sequence[str] = ()
    ) -> DatasetInput:
        """The dataset of that name, prepared at the first call."""
        if name not in self._datasets:
            self._datasets[name] = prepared(
                self.store, f"{name}-{self.seed}", type_, records, labels=labels,
                vocabulary_size=VOCABULARIES.get(name, 1024), sequence_length_tokens=64,
            )  # fmt: skip
        return self._datasets[name]

    def text(self) -> DatasetInput:
        """Sources of the single modules of the standard library."""
        texts = [{"text": text[:DOCUMENT_CHARACTERS]} for text in modules()[:DOCUMENTS]]
        return self.dataset("text", "text", texts)

    def chat(self) -> DatasetInput:
        """Passages of another package, of which the second part is answered."""
        return self.dataset("chat", "chat", questions(OTHER_PACKAGE))

    def run(self, name: str, model: ModelInput, data: DatasetInput, *metrics: str,
            **members: Any) -> Run:  # fmt: skip
        """One attempt, which must succeed."""
        task = self.trainer.task(
            f"{name}-{self.seed}", model, data, metrics, seed=self.seed, **members
        )
        run = self.trainer.run(task, CASE_SECONDS)
        assert run.outcome.succeeded, run.log[-3000:]
        return run

    def base(self) -> Run:
        """A causal model of the library's single modules."""
        if self._base is None:
            self._base = self.run(
                "base", architecture("llama"), self.text(), "perplexity", max_steps=900,
                learning_rate=0.006, warmup_steps=20,
            )  # fmt: skip
        return self._base


def pretrain_causal(methods: Methods) -> Score:
    """Anchors: a unigram and an interpolated bigram model."""
    return _beside_counts(methods.base().metrics)


def pretrain_masked(methods: Methods) -> Score:
    """Anchor: a unigram model."""
    found = methods.run(
        "masked", architecture("bert"), methods.text(), "perplexity", task="masked-lm",
        max_steps=300, learning_rate=0.003, warmup_steps=20,
    ).metrics  # fmt: skip
    anchors = {"unigram": found["unigramPerplexity"]}
    return Score("perplexity", found["perplexity"], anchors, lower=True)


def pretrain_pairs(methods: Methods) -> Score:
    """Serbian in Cyrillic to Serbian in Latin letters. Anchors: the source, the commonest
    target."""
    data = methods.dataset("pairs", "pairs", translations("sr", "sr@latin", PAIR_CHARACTERS))
    found = methods.run(
        "pairs", architecture("t5"), data, "bleu", task="seq2seq", max_steps=2000,
        learning_rate=0.003, warmup_steps=100, global_batch_size=32,
    ).metrics  # fmt: skip
    anchors = {"copy": found["copyBleu"], "most frequent": found["mostFrequentBleu"]}
    return Score("bleu", found["bleu"], anchors)


def pretrain_following(methods: Methods) -> Score:
    """The class of the token that follows 15 others. Anchors: the commonest, TF-IDF with logistic
    regression of all 15, and of the last three by their places."""
    data = methods.dataset("following", "labeled", following(methods.seed, LABELED), TAGS)
    found = methods.run(
        "following", architecture("llama"), data, "accuracy", task="sequence-classification",
        max_steps=1500, learning_rate=0.003, warmup_steps=20, global_batch_size=32,
    ).metrics  # fmt: skip
    (texts, labels), (asked, wanted) = map(_columns, split_of(methods.store, data))
    last, asked_last = ([last_words(text) for text in them] for them in (texts, asked))
    anchors = {
        "majority": found["majorityAccuracy"],
        "TF-IDF": linear_accuracy(texts, labels, asked, wanted),
        "TF-IDF of the last three": linear_accuracy(last, labels, asked_last, wanted),
    }
    return Score("accuracy", found["accuracy"], anchors)


def pretrain_package(methods: Methods) -> Score:
    """A passage's package. Anchors: the commonest, TF-IDF with logistic regression."""
    data = methods.dataset("package", "labeled", passages(methods.seed, PASSAGES), PACKAGES)
    found = methods.run(
        "package", architecture("bert", layers=1), data, "accuracy",
        task="sequence-classification", max_steps=500, learning_rate=0.005, warmup_steps=20,
        global_batch_size=32,
    ).metrics  # fmt: skip
    (texts, labels), (asked, wanted) = map(_columns, split_of(methods.store, data))
    linear = linear_accuracy(texts, labels, asked, wanted)
    return Score(
        "accuracy", found["accuracy"], {"majority": found["majorityAccuracy"], "TF-IDF": linear}
    )


def pretrain_tags(methods: Methods) -> Score:
    """Classes of Python's tokens. Anchors: the commonest, TF-IDF of a token and its neighbours
    with logistic regression."""
    data = methods.dataset("tags", "tags", tagged_code(methods.seed, CODE_RUNS), TAGS)
    found = methods.run(
        "tags", architecture("bert"), data, "accuracy", task="token-classification",
        max_steps=1000, learning_rate=0.003, warmup_steps=20, global_batch_size=32,
    ).metrics  # fmt: skip
    train, held_out = split_of(methods.store, data)
    linear = linear_accuracy(*_words(train), *_words(held_out))
    anchors = {"majority": found["majorityAccuracy"], "TF-IDF": linear}
    return Score("accuracy", found["accuracy"], anchors)


def finetune(methods: Methods) -> Score:
    """The base model learns another package. Anchor: the base model."""
    base = methods.base().model
    before = methods.run("judged", base, methods.chat(), "perplexity", method="evaluate")
    found = _tuned(methods, "finetune", learning_rate=0.002)
    return _beside_base(found["perplexity"], before.metrics["perplexity"])


def lora(methods: Methods) -> Score:
    """The same by low-rank adapters. Anchor: the base model."""
    found = _tuned(methods, "lora", learning_rate=0.01)
    return _beside_base(found["perplexity"], found["basePerplexity"])


def prompt_tuning(methods: Methods) -> Score:
    """The same by a learned prompt. Anchor: the base model."""
    prompt = PromptTuning(virtual_tokens=8)
    found = _tuned(methods, "prompt-tuning", learning_rate=0.1, prompt_tuning=prompt)
    return _beside_base(found["perplexity"], found["basePerplexity"])


def distill(methods: Methods) -> Score:
    """A small student of the base model. Anchor: the same student on the labels alone."""
    student = architecture("llama", hidden_size=32, layers=1)
    steps = {"max_steps": 150, "learning_rate": 0.006, "warmup_steps": 20}
    alone = methods.run("alone", student, methods.text(), "perplexity", **steps).metrics
    task = DistillTask(teacher=methods.base().model, temperature=1.0, alpha=0.5)
    taught = methods.run(
        "taught", student, methods.text(), "perplexity", method="distill", distill=task, **steps
    ).metrics
    anchors = {"cross-entropy alone": alone["perplexity"]}
    return Score("perplexity", taught["perplexity"], anchors, lower=True)


def evaluate(methods: Methods) -> Score:
    """The base model judged again says the same. Anchors: as when it was trained."""
    found = methods.run(
        "again", methods.base().model, methods.text(), "perplexity", method="evaluate"
    ).metrics
    assert found["perplexity"] == methods.base().metrics["perplexity"]
    return _beside_counts(found)


CASES: Final[Mapping[str, Callable[[Methods], Score]]] = {
    "pretrain causal-lm": pretrain_causal,
    "pretrain masked-lm": pretrain_masked,
    "pretrain seq2seq": pretrain_pairs,
    "pretrain sequence-classification": pretrain_following,
    "pretrain token-classification": pretrain_tags,
    "finetune causal-lm": finetune,
    "lora causal-lm": lora,
    "prompt-tuning causal-lm": prompt_tuning,
    "distill causal-lm": distill,
    "evaluate causal-lm": evaluate,
}
"""By the names of their method and task."""
UNBEATEN: Final[Mapping[str, Callable[[Methods], Score]]] = {
    "pretrain sequence-classification, package": pretrain_package,
}
"""Where seconds of training do not suffice to beat the others: told, and asserted nowhere."""


def _tuned(methods: Methods, method: str, **members: Any) -> Mapping[str, float]:
    model = methods.base().model
    steps = {"max_steps": 150, "warmup_steps": 10}
    return methods.run(
        f"{method}-chat", model, methods.chat(), "perplexity", method=method, **steps, **members
    ).metrics


def _beside_base(value: float, before: float) -> Score:
    return Score("perplexity", value, {"base model": before}, lower=True)


def _beside_counts(found: Mapping[str, float]) -> Score:
    anchors = {"unigram": found["unigramPerplexity"], "bigram": found["bigramPerplexity"]}
    return Score("perplexity", found["perplexity"], anchors, lower=True)


def _columns(records: list[Record]) -> tuple[list[str], list[str]]:
    return [record["text"] for record in records], [record["label"] for record in records]


def _words(records: list[Record]) -> tuple[list[str], list[str]]:
    words = [word for record in records for word in word_in_context(record)]
    return words, [tag for record in records for tag in record["tags"]]
