"""What classifiers must beat: TF-IDF and logistic regression, on the same split."""

import json
from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from llmcloud.api.contract import DatasetInput, DatasetManifest
from llmcloud.cloud.base import Store
from llmcloud.cloud.manifest import MANIFEST, read_manifest, version_path
from tests.support.labels import Record


def split_of(store: Store, dataset: DatasetInput) -> tuple[list[Record], list[Record]]:
    """The examples that a version trains on, and those that it holds out."""
    path = version_path(dataset.path, dataset.version)
    manifest = read_manifest(store, path + MANIFEST, DatasetManifest)
    assert manifest is not None
    one, other = (
        [json.loads(line) for entry in entries for line in store.get(path + entry.key).splitlines()]
        for entries in (manifest.train, manifest.validation)
    )
    return one, other


def linear_accuracy(
    texts: Sequence[str], labels: Sequence[str], held_out: Sequence[str], wanted: Sequence[str]
) -> float:
    """Accuracy of scikit-learn's defaults: words of two characters and more, C = 1."""
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    model.fit(texts, labels)
    return float(model.score(held_out, wanted))


def word_in_context(record: Record) -> list[str]:
    """Every token as a text of itself and its two neighbours, each marked by its place."""
    tokens = ["<", *record["tokens"], ">"]
    return [
        " ".join(f"{mark}{_word(tokens[place + step])}" for mark, step in MARKS)
        for place in range(1, len(tokens) - 1)
    ]


def last_words(text: str) -> str:
    """The last three tokens of a text, each marked by its place."""
    return " ".join(f"{place}{_word(t)}" for place, t in enumerate(text.split(" ")[-3:]))


MARKS = (("before", -1), ("this", 0), ("after", 1))


def _word(token: str) -> str:
    """A token as one word for scikit-learn's tokenizer."""
    return "".join(c if c.isalnum() else f"u{ord(c)}" for c in token)
