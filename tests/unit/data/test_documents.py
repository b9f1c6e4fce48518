"""Which documents are held out, how copies are known, and which objects are read."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud_data.documents import DIGEST, Digests, held_out, text_digest
from llmcloud_data.sources import matches
from llmcloud_data.spool import Spool

numbers = st.lists(st.integers())


def digests_of(values: list[int]) -> Digests:
    return np.array([hashlib.sha256(str(n).encode()).digest() for n in values], dtype=DIGEST)


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


@given(texts=st.lists(st.text(), max_size=20))
def test_a_spool_gives_back_every_text(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    file = tmp_path_factory.mktemp("spool") / "texts"
    with Spool(file) as spool:
        for number, text in enumerate(texts):
            spool.append(text)
            assert spool[number // 2] == texts[number // 2]
        assert list(spool) == texts
        assert len(spool) == len(texts)
        assert spool.bytes == sum(len(text.encode()) for text in texts)
    assert not file.exists()


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
