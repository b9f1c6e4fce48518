"""Which files are documents, which are held out, and how their text is read."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud_data import documents
from llmcloud_data.documents import held_out, pieces, rejection
from llmcloud_data.sources import matches

hashes = st.lists(st.integers().map(lambda n: hashlib.sha256(str(n).encode()).hexdigest()))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text", None),
        (b"\xef\xbb\xbftext\r\n", None),
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b" \r\n\t", "empty"),
        ("caf\u00e9".encode("latin-1"), "invalidUtf8"),
        (b"x" * (documents.PIECE_CHARACTERS * 4) + b"\xff", "invalidUtf8"),
    ],
)
def test_what_is_no_text_is_rejected(tmp_path: Path, content: bytes, reason: str | None) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert rejection(file) == reason


def test_pieces_are_bounded_cut_at_line_ends_and_lose_nothing(tmp_path: Path) -> None:
    lines = [f"line {number} \u00e9" for number in range(300_000)]
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found = list(pieces(file))
    assert "".join(found) == "\n".join(lines)
    assert all(piece.endswith("\n") for piece in found[:-1])
    assert max(map(len, found)) <= 2 * documents.PIECE_CHARACTERS


@given(hashes, st.floats(0, 0.5))
def test_some_but_never_all_documents_are_held_out(values: list[str], fraction: float) -> None:
    out = held_out(values, fraction)
    different = set(values)
    assert out <= different
    if fraction > 0 and len(different) > 1:
        assert 0 < len(out) < len(different)
    else:
        assert not out


def test_about_the_fraction_is_held_out_and_stays_so_when_documents_come() -> None:
    values = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(10_000)]
    out = held_out(values, 0.1)
    assert 900 < len(out) < 1100
    assert held_out(values[:5000], 0.1) == out & set(values[:5000])


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
