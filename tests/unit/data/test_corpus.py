"""All steps in a row: what is kept, in which order, and what is counted."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.dataset import Clean, Deduplicate, NearDuplicates, Prepare, Redact, Split
from llmcloud_data.reading import read_texts
from tests.support.preparation import Prepared, as_lines, prepare_lines

Build = Callable[..., Prepared]
ALL = Prepare(split=Split(validation_fraction=0))
SENTENCE = "Document {0} tells of {0} ships that left harbour {0} in the year {0} and came back."
EVERYTHING = Prepare(
    clean=Clean(min_characters=10, repetition=False),
    deduplicate=Deduplicate(near=NearDuplicates(similarity_percent=95)),
    split=Split(validation_fraction=0),
)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Prepares twenty lines, of which some are of no use, cut into parts."""
    texts = [SENTENCE.format(number) * 3 for number in range(20)]
    texts[4:4] = [texts[3], texts[3].replace(" ", "  "), "", "short"]
    texts.append(SENTENCE.format(19) * 3 + "!")
    lines = as_lines(texts)
    lines.insert(2, "broken")

    def run(steps: Prepare, *cuts: int) -> Prepared:
        edges = [0, *(cuts or [9]), len(lines)]
        parts = [lines[start:end] for start, end in pairwise(edges)]
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return prepare_lines(parts, steps, folder)

    return run


def test_without_steps_every_text_is_kept_in_its_order(build: Build) -> None:
    done = build(ALL)
    assert done.validation == []
    assert done.rejected == {"empty": 1, "invalidRecord": 1}
    assert done.read == len(done.train) + 2
    numbers = [int(text.split()[1]) for text in done.train if text != "short"]
    assert numbers == sorted(numbers)


def test_every_step_counts_what_it_leaves_out(build: Build) -> None:
    done = build(EVERYTHING)
    assert done.train == [SENTENCE.format(number) * 3 for number in range(20)]
    assert done.rejected == {
        "duplicate": 2, "empty": 1, "invalidRecord": 1, "nearDuplicate": 1, "short": 1,
    }  # fmt: skip
    assert done.read == 20 + 6


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 26), max_size=5), passes=st.integers(1, 30))
def test_neither_parts_nor_passes_change_anything(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], passes: int
) -> None:
    """A part may be empty, and a pass may hold one document."""
    texts = [SENTENCE.format(number % 9) * 3 for number in range(20)]
    texts += [text + "!" for text in texts[:6]]
    steps = EVERYTHING.model_copy(update={"split": Split(validation_fraction=0.3)})
    lines = as_lines(texts)
    edges = [0, *sorted(cuts), len(lines)]
    parts = [lines[start:end] for start, end in pairwise(edges)]
    whole = prepare_lines([lines], steps, tmp_path_factory.mktemp("whole"))
    assert prepare_lines(parts, steps, tmp_path_factory.mktemp("parts"), passes) == whole
    assert len(whole.train + whole.validation) == 9


def test_copies_never_lie_on_both_sides(build: Build) -> None:
    done = build(Prepare(split=Split(validation_fraction=0.3)))
    assert done.validation
    sides = [{" ".join(text.split()) for text in side} for side in (done.train, done.validation)]
    assert not sides[0] & sides[1]
    assert build(Prepare(split=Split(validation_fraction=0.3)), 3, 12) == done


def test_both_sides_are_redacted_and_only_what_is_kept_is_counted(tmp_path: Path) -> None:
    texts = [
        f"Ship {number}, call +44 20 7946 00{number % 8}8 or a{number}@acme.com."
        for number in range(10)
    ]
    steps = Prepare(
        deduplicate=Deduplicate(),
        redact=Redact(entities=["email", "phone"]),
        split=Split(validation_fraction=0.5),
    )
    done = prepare_lines([as_lines(texts * 2)], steps, tmp_path)
    kept = [*done.train, *done.validation]
    assert min(len(done.train), len(done.validation)) > 0
    assert sorted(kept) == sorted(f"Ship {n}, call <PHONE> or <EMAIL>." for n in range(10))
    assert done.redacted == {"email": 10, "phone": 10}
    assert done.rejected == {"duplicate": 10}


def test_what_leaves_a_worker_is_redacted(tmp_path: Path) -> None:
    steps = Prepare(redact=Redact(entities=["email"]))
    prepare_lines([as_lines(["Write to jo@acme.com."])], steps, tmp_path)
    assert list(read_texts(tmp_path / "part-0")) == ["Write to <EMAIL>."]
