"""All steps in a row: what is kept, in which order, and what is counted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmcloud.api.contract import SourceEntry
from llmcloud.api.dataset import Clean, Deduplicate, NearDuplicates, Prepare, Redact, Split
from llmcloud_data.corpus import build_corpus
from llmcloud_data.examples import Shape
from llmcloud_data.sources import SourceFile

Build = Callable[[Prepare], tuple[list[str], list[str], int, dict[str, int]]]
ALL = Prepare(split=Split(validation_fraction=0))
SENTENCE = "Document {0} tells of {0} ships that left harbour {0} in the year {0} and came back."


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Train, validation, read and rejected of twenty lines, of which some are of no use."""
    texts = [SENTENCE.format(number) * 3 for number in range(20)]
    texts[4:4] = [texts[3], texts[3].replace(" ", "  "), "", "short"]
    texts.append(SENTENCE.format(19) * 3 + "!")
    lines = [json.dumps({"text": text}) for text in texts]
    lines.insert(2, "broken")

    def run(steps: Prepare) -> tuple[list[str], list[str], int, dict[str, int]]:
        files = []
        for number, part in enumerate((lines[:9], lines[9:])):
            file = tmp_path / f"object-{number}"
            file.write_text("\n".join(part))
            entry = SourceEntry(store="raw", key=f"{number}.jsonl", bytes=1, sha256="")
            files.append(SourceFile(entry, file, "jsonl", ("text",)))
        heard: list[int] = []
        with build_corpus(files, Shape(), steps, tmp_path / "scratch", heard.append) as corpus:
            result = list(corpus.train), list(corpus.validation), corpus.read, corpus.rejected
        assert heard == [1, 1]
        assert list((tmp_path / "scratch").iterdir()) == []
        assert not any(file.file.exists() for file in files)
        return result

    return run


def test_without_steps_every_text_is_kept_in_its_order(build: Build) -> None:
    train, validation, read, rejected = build(ALL)
    assert validation == []
    assert rejected == {"empty": 1, "invalidRecord": 1}
    assert read == len(train) + 2
    numbers = [int(text.split()[1]) for text in train if text != "short"]
    assert numbers == sorted(numbers)


def test_every_step_counts_what_it_leaves_out(build: Build) -> None:
    steps = Prepare(
        clean=Clean(min_characters=10, repetition=False),
        deduplicate=Deduplicate(near=NearDuplicates(similarity_percent=95)),
        split=Split(validation_fraction=0),
    )
    train, _, read, rejected = build(steps)
    assert train == [SENTENCE.format(number) * 3 for number in range(20)]
    assert rejected == {
        "duplicate": 2, "empty": 1, "invalidRecord": 1, "nearDuplicate": 1, "short": 1,
    }  # fmt: skip
    assert read == 20 + 6


def test_copies_never_lie_on_both_sides(build: Build) -> None:
    train, validation, _, _ = build(Prepare(split=Split(validation_fraction=0.3)))
    assert validation
    sides = [{" ".join(text.split()) for text in side} for side in (train, validation)]
    assert not sides[0] & sides[1]
    assert build(Prepare(split=Split(validation_fraction=0.3)))[:2] == (train, validation)


def test_both_sides_are_redacted_and_counted_after_copies_are_gone(tmp_path: Path) -> None:
    texts = [
        f"Ship {number}, call +44 20 7946 00{number % 8}8 or a{number}@acme.com."
        for number in range(10)
    ]
    file = tmp_path / "object"
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts * 2))
    entry = SourceEntry(store="raw", key="a.jsonl", bytes=1, sha256="")
    steps = Prepare(
        deduplicate=Deduplicate(),
        redact=Redact(entities=["email", "phone"]),
        split=Split(validation_fraction=0.5),
    )
    files = [SourceFile(entry, file, "jsonl", ("text",))]
    with build_corpus(files, Shape(), steps, tmp_path / "scratch", lambda _: None) as corpus:
        kept = [*corpus.train, *corpus.validation]
        assert min(len(corpus.train), len(corpus.validation)) > 0
    assert sorted(kept) == sorted(f"Ship {n}, call <PHONE> or <EMAIL>." for n in range(10))
    assert corpus.redacted == {"email": 10, "phone": 10}
    assert corpus.rejected == {"duplicate": 10}
