"""Text in which nobody planted anything: what redaction takes there, and how fast steps are.

The standard library's source, and of what the machine has below /usr/share: documentation and
manual pages, of each a seeded sample.
"""

import gzip
import random
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from llmcloud_data import tokens
from llmcloud_data.cleaning import language, normalised
from llmcloud_data.redaction import redacted
from tests.support.figures import figure
from tests.support.redactions import ENTITIES

SEED: Final = 2
"""Rules were corrected after a look at what seed 1 draws."""
SAMPLE_CHARACTERS: Final = 8_000_000
FILE_CHARACTERS: Final = 1_000_000
VOCABULARY: Final = 32_000
TESTS: Final = {"site-packages", "test", "tests", "idle_test"}


def measure_real_text() -> None:
    """Addresses of authors are real; what else is found is for somebody to judge."""
    for name, texts in real_texts().items():
        tokenizer = tokens.train("bpe", texts, VOCABULARY)
        millions = tokens.count(tokenizer, texts) / 1e6
        figure(f"{name}: unplanted text", millions, "million tokens")
        counts: Counter[str] = Counter()
        for text in texts:
            redacted(text, ENTITIES, counts)
        for entity in ENTITIES:
            what = "redactions (authors' addresses too)" if entity == "email" else "redactions"
            figure(f"{name}: {entity} {what}", counts[entity] / millions, "per million tokens")
        for step, run in STEPS.items():
            figure(f"{name}: {step}", millions * 1e6 / seconds(run, texts), "tokens/s of a core")


STEPS: Final[dict[str, Callable[[str], object]]] = {
    "redact all types": lambda text: redacted(text, ENTITIES, Counter()),
    "normalise": normalised,
    "language": language,
}


def seconds(step: Callable[[str], object], texts: list[str]) -> float:
    began = time.process_time()
    for text in texts:
        step(text)
    return time.process_time() - began


def real_texts() -> dict[str, list[str]]:
    """By name; what this machine lacks is left out."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = {
        "standard library": _sample(
            file for file in library.rglob("*.py") if not TESTS & set(file.parts)
        ),
        "documentation": _sample(
            file for file in Path("/usr/share/doc").rglob("*") if file.suffix in DOCUMENTS
        ),
        "manual pages": _sample(Path("/usr/share/man").glob("man*/*.gz")),
    }
    return {name: texts for name, texts in found.items() if texts}


DOCUMENTS: Final = {"", ".txt", ".md", ".rst", ".gz", ".html"}


def _sample(files: Iterator[Path]) -> list[str]:
    """Texts in an order drawn by seed, until there is enough; of each file its beginning."""
    order = sorted(file for file in files if file.is_file() and not file.is_symlink())
    random.Random(SEED).shuffle(order)
    texts, left = [], SAMPLE_CHARACTERS
    for file in order:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        if b"\0" in data[:1024] or left <= 0:
            continue
        texts.append(data.decode(errors="ignore")[: min(left, FILE_CHARACTERS)])
        left -= len(texts[-1])
    return texts
