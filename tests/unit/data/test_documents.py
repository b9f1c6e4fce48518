"""Which documents are held out, how copies are known, and which objects are read."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmcloud_data.documents import DIGEST, Digests, text_digest
from llmcloud_data.merging import TRAIN, VALIDATION, hold_out
from llmcloud_data.origins import matches

numbers = st.lists(st.integers())


def digests_of(values: list[int]) -> Digests:
    return np.array([hashlib.sha256(str(n).encode()).digest() for n in values], dtype=DIGEST)


def held_out(digests: Digests, fraction: float) -> NDArray[np.bool_]:
    states = np.full(len(digests), TRAIN, dtype=np.uint8)
    hold_out(digests, states, fraction)
    out: NDArray[np.bool_] = states == VALIDATION
    return out


@given(numbers, st.floats(0, 0.5))
def test_some_but_never_all_documents_are_held_out(values: list[int], fraction: float) -> None:
    out = held_out(digests_of(values), fraction)
    held = {value for value, is_out in zip(values, out, strict=True) if is_out}
    kept = set(values) - held
    assert held.isdisjoint(value for value, is_out in zip(values, out, strict=True) if not is_out)
    if fraction > 0 and len(set(values)) > 1:
        assert held
        assert kept
    else:
        assert not held


def test_about_the_fraction_is_held_out_and_stays_so_when_documents_come() -> None:
    digests = digests_of(list(range(10_000)))
    out = held_out(digests, 0.1)
    assert 900 < out.sum() < 1100
    assert (held_out(digests[:5000], 0.1) == out[:5000]).all()


def test_texts_that_differ_in_white_space_alone_are_one() -> None:
    assert text_digest("a  b\n\tc ") == text_digest("a b c")
    assert text_digest("a b c") != text_digest("a B c")


@pytest.mark.parametrize(
    ("key", "include", "matched"),
    [
        ("a.py", ["*.py"], True),
        ("deep/down/a.py", ["*.py"], True),
        ("deep/down/a.py", ["deep/*"], True),
        ("deep/down/a.py", ["down/*"], False),
        ("deep/down/a.py", ["a.*"], True),
        ("a.txt", ["*.py", "*.md"], False),
        ("A.PY", ["*.py"], False),
        ("anything", ["*"], True),
    ],
)
def test_globs_match_the_key_or_its_last_part(key: str, include: list[str], matched: bool) -> None:
    assert matches(key, include) is matched
