"""`make bench-data`: what the steps find, what they take by mistake, and how fast they are.

Personal data stands in the generator's test part and in sentences that others wrote. Stages are
told beside datatrove's over the same documents on one core; the loader beside itself on local
files; and a whole corpus is prepared by the pods' own command over a real store.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench.loader import measure_loader
from tests.bench.others_templates import others_documents
from tests.bench.preparation import measure_preparation, measure_versions
from tests.bench.real_text import measure_real_text
from tests.bench.stages.measure import measure_stages
from tests.support.corpus import documents
from tests.support.figures import LINES, figure
from tests.support.near_copies import planted, remove
from tests.support.redactions import scores

DOCUMENTS: Final = 5000
THRESHOLD: Final = 0.8
CHECKSUMMED: Final = {"creditCard", "iban", "nationalId"}


def measure_duplicates() -> None:
    with tempfile.TemporaryDirectory() as folder:
        removed = remove(planted(DOCUMENTS, seed=1), THRESHOLD, Path(folder))
    figure("exact duplicates removed", removed.copies, "share", 1.0, floor=True)
    figure("near duplicates removed, J >= 0.85", removed.alike, "share", 0.98, floor=True)
    figure("documents removed, best J <= 0.7", removed.apart, "share", 0.01)


def measure_redaction() -> None:
    parts = {
        "test part": documents("test", DOCUMENTS, seed=1),
        "others' sentences": others_documents(DOCUMENTS, seed=1),
    }
    for part, lines in parts.items():
        for entity, found in scores(lines).items():
            for name, score in found.items():
                goal = 0.95 if name == "f2" and entity in CHECKSUMMED else None
                what = f"{part}: {entity} {name}"
                figure(what, score.value, "share", goal, floor=True)
                figure(f"{what}, low end of 95 %", score.low, "share")
                figure(f"{what}, high end of 95 %", score.high, "share")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench.data", description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--corpus-mb", type=int, default=200, help="the whole one: 2000")
    options: argparse.Namespace = parser.parse_args()
    return options


PARTS: Final[dict[str, Callable[[int], None]]] = {
    "duplicates": lambda corpus_bytes: measure_duplicates(),
    "redaction": lambda corpus_bytes: measure_redaction(),
    "real-text": lambda corpus_bytes: measure_real_text(),
    "stages": lambda corpus_bytes: measure_stages(),
    "loader": lambda corpus_bytes: measure_loader(),
    "versions": measure_versions,
    "preparation": measure_preparation,
}


def main() -> None:
    options = parse()
    for name in options.only:
        PARTS[name](options.corpus_mb * 1_000_000)
        print("\n".join(LINES), flush=True)
        LINES.clear()


if __name__ == "__main__":
    main()
