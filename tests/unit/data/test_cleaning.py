"""What cleaning does to a text, and which texts it leaves out."""

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.api.dataset import Clean, Format
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_data.cleaning import check_languages, language, normalised, unfit
from llmcloud_data.repetition import DUPLICATE_RUNS, TOP_RUNS, repeats

PROSE = (
    "The committee met on Tuesday to discuss the new bridge over the river. Several members said "
    "that the old one had served the town well, but that heavy lorries had damaged its piers. An "
    "engineer explained how long a repair would take and what it might cost; nobody was surprised."
)
GERMAN = (
    "Der Ausschuss traf sich am Dienstag, um \u00fcber die neue Br\u00fccke zu sprechen. Mehrere "
    "Mitglieder sagten, die alte habe der Stadt gute Dienste geleistet."
)
COUNTING = " ".join(f"word{n}" for n in range(1000))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("e\u0301", "\u00e9"),
        ("a\x00b\x07c\x7f\x85d", "abcd"),
        ("a\tb\nc", "a\tb\nc"),
        ("\ufeffa\ufeff", "a"),
        ("\u6f22\u5b57 \U0001f600", "\u6f22\u5b57 \U0001f600"),
    ],
)
def test_a_text_in_its_normal_form(text: str, clean: str) -> None:
    assert normalised(text) == clean


@given(st.text())
def test_normalising_is_done_once(text: str) -> None:
    clean = normalised(text)
    assert normalised(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)


@pytest.mark.parametrize(
    ("text", "clean", "reason"),
    [
        pytest.param(PROSE, Clean(), None, id="prose"),
        pytest.param(" \n", Clean(), "empty", id="nothing left"),
        pytest.param("x" * 199, Clean(min_characters=200), "short", id="one character too few"),
        pytest.param("x" * 200, Clean(min_characters=200), None, id="just long enough"),
        pytest.param("x" * 11, Clean(max_characters=10), "long", id="one character too many"),
        pytest.param(PROSE, Clean(languages=["en"]), None, id="the language wanted"),
        pytest.param(GERMAN, Clean(languages=["en", "fr"]), "language", id="another language"),
        pytest.param(GERMAN, Clean(languages=["en", "de"]), None, id="one of the languages"),
        pytest.param("spam ham\n" * 99, Clean(), "repetition", id="the same again and again"),
        pytest.param("spam ham\n" * 99, Clean(repetition=False), None, id="as often as it likes"),
    ],
)
def test_left_out(text: str, clean: Clean, reason: str | None) -> None:
    assert unfit(text, "text", clean) == reason


@pytest.mark.parametrize("format_", ["text", "jsonl", "csv", "parquet"])
def test_code_is_not_judged_by_language_and_repetition(format_: Format) -> None:
    code, clean = "x = 1\n" * 50, Clean(languages=["de"])
    assert unfit(code, "code", clean) is None
    assert unfit(code, format_, clean) is not None
    assert unfit(code, "code", Clean(min_characters=1000)) == "short"


@pytest.mark.parametrize(
    ("text", "code"),
    [(PROSE, "en"), (GERMAN, "de"), ("\u6771\u4eac\u306f\u65e5\u672c\u3067\u3059", "ja")],
)
def test_languages_are_told_apart(text: str, code: str) -> None:
    assert language(text) == code


def test_a_language_that_nobody_knows_is_refused_by_name() -> None:
    check_languages(None)
    check_languages(Clean(languages=["en", "de"]))
    with pytest.raises(ConfigurationInvalid, match=r"languages names qq, which .* known are .*en,"):
        check_languages(Clean(languages=["en", "qq"]))


@pytest.mark.parametrize(
    ("text", "repeating"),
    [
        pytest.param(PROSE, False, id="prose"),
        pytest.param("a b", False, id="two words, each once"),
        pytest.param("one\ntwo\none\ntwo", True, id="lines"),
        pytest.param(f"{COUNTING} {PROSE} {PROSE}", False, id="a small part twice"),
        pytest.param(f"{PROSE}\n\n{PROSE}", True, id="a paragraph twice"),
        pytest.param(f"{COUNTING} " + "now and " * 300, True, id="two words most of the time"),
        pytest.param(f"{COUNTING} {COUNTING}", True, id="long runs of words twice"),
    ],
)
def test_repetition(text: str, repeating: bool) -> None:
    assert repeats(text) is repeating


def characters_of_runs(words: list[str], run: int) -> tuple[int, int]:
    """By the definition: of the most frequent run, and of all words within any that comes again."""
    places = range(len(words) - run + 1)
    counts = Counter(tuple(words[place : place + run]) for place in places)
    again = {found: count for found, count in counts.items() if count > 1}
    top = max(again.values(), default=0)
    longest = max((len(" ".join(f)) for f, count in again.items() if count == top), default=0)
    covered = {
        place + step
        for place in places
        if tuple(words[place : place + run]) in again
        for step in range(run)
    }
    return top * longest, sum(len(words[place]) for place in covered)


WORDS = ["a", "bc", "def", *(f"word{n}" for n in range(30))]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60))
def test_repetition_is_that_of_the_definition(words: list[str]) -> None:
    text = " ".join(words)
    by_definition = any(
        characters_of_runs(words, run)[0] > limit * len(text) for run, limit in TOP_RUNS.items()
    ) or any(
        characters_of_runs(words, run)[1] > limit * len(text)
        for run, limit in DUPLICATE_RUNS.items()
    )
    assert repeats(text) is by_definition
