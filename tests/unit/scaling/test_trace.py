"""Traces are read as they are published, and refused with the line and the remedy."""

from pathlib import Path

import pytest

from llmcloud.scaling.simulate import Request
from llmcloud.scaling.trace import Columns, TraceError, read_trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def written(path: Path, text: str) -> Path:
    file = path / "trace.csv"
    file.write_text(text)
    return file


def test_known_columns_are_found_and_times_start_at_zero(tmp_path: Path) -> None:
    text = AZURE + "2023-11-16 18:17:04.5000000,300,8\n2023-11-16 18:17:03.2500000,4808,10\n"
    assert read_trace(written(tmp_path, text), Columns()) == [
        Request(0.0, 4808, 10),
        Request(1.25, 300, 8),
    ]


def test_columns_are_named_by_option_and_times_may_be_seconds(tmp_path: Path) -> None:
    text = "id,when,in,out\na,10.5,1,2\n\nb,12,3,4\n"
    assert read_trace(written(tmp_path, text), Columns("when", "in", "out")) == [
        Request(0.0, 1, 2),
        Request(1.5, 3, 4),
    ]


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        pytest.param("", Columns(), "--timestamp-column", id="an empty file has no columns"),
        pytest.param(AZURE, Columns(), "holds no request", id="names alone are no trace"),
        pytest.param(
            AZURE, Columns(input_tokens="tokens"), "no column 'tokens'", id="an unknown column"
        ),
        pytest.param(
            "time,a,b\n0,1,2\n", Columns(), "set it", id="names that are not known need an option"
        ),
        pytest.param(AZURE + "0,1\n", Columns(), "line 2: 2 fields", id="a short row"),
        pytest.param(
            AZURE + "0,1,2\nsoon,1,2\n", Columns(), "line 3: TIMESTAMP is 'soon'", id="a bad time"
        ),
        pytest.param(AZURE + "nan,1,2\n", Columns(), "line 2: TIMESTAMP", id="no time at all"),
        pytest.param(AZURE + "0,-1,2\n", Columns(), "ContextTokens is '-1'", id="fewer than none"),
        pytest.param(AZURE + "0,1,x\n", Columns(), "GeneratedTokens is 'x'", id="no number"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, columns: Columns, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        read_trace(written(tmp_path, text), columns)


def test_a_file_that_is_missing_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.csv cannot be read"):
        read_trace(tmp_path / "none.csv", Columns())
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="binary cannot be read"):
        read_trace(tmp_path / "binary", Columns())
