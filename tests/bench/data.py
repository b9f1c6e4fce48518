"""`make bench-data`: what the steps find, what they take by mistake, and how fast they are.

The personal data is the generator's test part, against which no rule was looked at; real text is
the standard library's source and documentation. Speed is told beside datatrove's own stage over
the same documents on one core. Last, a whole preparation over a store: `CORPUS_MB` (200) of text
by two workers.
"""

import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from datatrove.pipeline.formatters.pii import PIIFormatter

from llmcloud_data.cleaning import language, normalised
from llmcloud_data.near_duplicates import shingles, signature
from llmcloud_data.redaction import redacted
from llmcloud_data.repetition import repeats
from tests.bench.loader import measure_loader
from tests.support.corpus import documents
from tests.support.figures import LINES, figure
from tests.support.near_copies import planted, remove
from tests.support.redactions import ENTITIES, scores

DOCUMENTS = 5000
WORKERS = 2
THRESHOLD = 0.8
CHECKSUMMED = {"creditCard", "iban", "nationalId"}


def main() -> None:
    measure_duplicates()
    measure_redaction()
    texts = real_texts()
    measure_false_redactions(texts)
    measure_speed(texts)
    measure_loader()
    print("\n".join(LINES))


def measure_duplicates() -> None:
    with tempfile.TemporaryDirectory() as folder:
        removed = remove(planted(DOCUMENTS, seed=1), THRESHOLD, Path(folder))
    figure("exact duplicates removed", removed.copies, "share", 1.0, floor=True)
    figure("near duplicates removed, J >= 0.85", removed.alike, "share", 0.98, floor=True)
    figure("documents removed, best J <= 0.7", removed.apart, "share", 0.01)


def measure_redaction() -> None:
    for entity, found in scores(documents("test", DOCUMENTS, seed=1)).items():
        for name, score in found.items():
            goal = 0.95 if name == "f2" and entity in CHECKSUMMED else None
            figure(f"{entity} {name}", score.value, "share", goal, floor=True)
            figure(f"{entity} {name}, low end of 95 %", score.low, "share")
            figure(f"{entity} {name}, high end of 95 %", score.high, "share")


def real_texts() -> list[str]:
    """The standard library without its tests, and its documentation of topics."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(
        file
        for file in library.rglob("*.py")
        if not {"site-packages", "test", "tests", "idle_test"} & set(file.parts)
    )
    return [file.read_text(encoding="utf-8", errors="ignore") for file in files]


def measure_false_redactions(texts: list[str]) -> None:
    """Addresses of authors are real; everything else that is found is not."""
    counts: Counter[str] = Counter()
    for text in texts:
        redacted(text, ENTITIES, counts)
    millions = sum(len(text.split()) for text in texts) / 1e6
    figure("real text", millions, "million words")
    for entity in ENTITIES:
        name = "redactions (authors' addresses)" if entity == "email" else "false redactions"
        figure(f"{entity} {name}", counts[entity] / millions, "per million words")


def measure_speed(texts: list[str]) -> None:
    def rate(step: Callable[[str], object]) -> float:
        started = time.perf_counter()
        for text in texts:
            step(text)
        return sum(len(text.split()) for text in texts) / (time.perf_counter() - started)

    formatter = PIIFormatter()
    ours = rate(lambda text: redacted(text, ["email", "ipAddress"], Counter()))
    theirs = ("datatrove PIIFormatter", rate(formatter.format))
    figure("redact e-mail and IP", ours, "words/s", 1.0, floor=True, anchor=theirs)
    steps: dict[str, Callable[[str], object]] = {
        "redact all": lambda text: redacted(text, ENTITIES, Counter()),
        "normalise": normalised,
        "language": language,
        "repetition": repeats,
        "MinHash signature": lambda text: signature(shingles(text)),
    }
    for name, step in steps.items():
        figure(name, rate(step), "words/s")


if __name__ == "__main__":
    main()
