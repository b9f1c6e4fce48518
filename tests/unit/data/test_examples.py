"""What a record of each type must be, and how a shard holds it."""

import json
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.dataset import RECORD_MEMBERS, DatasetType, Fields, Format
from llmcloud_data.documents import document_digest
from llmcloud_data.examples import RECORD_BYTES, ROLES, Example, Shape, decoded, example_of
from llmcloud_data.records import read_records
from llmcloud_data.rejections import Rejection
from llmcloud_data.shards import write_lines

LABELS = ("negative", "positive")
ASK = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "So\r\nit is."}


def made(type_: DatasetType, *values: Any) -> Any:
    """What a shard would hold, or the reason in angle brackets."""
    labels = LABELS if type_ in ("labeled", "tags") else ()
    example = example_of(Shape(type_, labels), values)
    return f"<{example}>" if isinstance(example, Rejection) else json.loads(example.encoded())


CHATS = [
    pytest.param([ASK, ANSWER], [ASK, {"role": "assistant", "content": "So\nit is."}], id="turns"),
    pytest.param(
        [{**ASK, "name": "x"}, ANSWER, {"role": "user", "content": ""}],
        [ASK, {"role": "assistant", "content": "So\nit is."}, {"role": "user", "content": ""}],
        id="other members are left out, one message may be empty",
    ),
    pytest.param([], "<empty>", id="no messages"),
    pytest.param([{"role": "assistant", "content": " "}], "<empty>", id="nothing said"),
    pytest.param([ASK], "<noAnswer>", id="nothing to learn"),
    pytest.param([{"from": "human", "value": "Why?"}], "<unknownRole>", id="another schema"),
    pytest.param([ASK, {"role": "robot", "content": "a"}], "<unknownRole>", id="a strange role"),
    pytest.param([ASK, {"role": "assistant"}], "<missingField>", id="a call of a tool"),
    pytest.param([{"role": "user", "content": [ASK]}], "<notText>", id="parts"),
    pytest.param([["user", "Why?"]], "<invalidRecord>", id="pairs"),
    pytest.param({"messages": []}, "<notAList>", id="no list"),
    pytest.param(None, "<missingField>", id="no member"),
    pytest.param(
        [ASK, {"role": "assistant", "content": "x" * RECORD_BYTES}], "<tooLarge>", id="too long"
    ),
    pytest.param([ASK, {**ANSWER, "content": "\ud800"}], "<invalidUtf8>", id="half a character"),
]


@pytest.mark.parametrize(("value", "messages"), CHATS)
def test_chat(value: Any, messages: Any) -> None:
    wanted = messages if isinstance(messages, str) else {"messages": messages}
    assert made("chat", value) == wanted


OTHERS: list[Any] = [
    pytest.param("pairs", ("a", "b"), {"source": "a", "target": "b"}, id="a pair"),
    pytest.param("pairs", (b"a", b"b\r\n"), {"source": "a", "target": "b\n"}, id="bytes"),
    pytest.param("pairs", ("a", None), "<missingField>", id="half a pair"),
    pytest.param("pairs", ("a", " "), "<empty>", id="nothing wanted"),
    pytest.param("pairs", ("a", b"\xff"), "<invalidUtf8>", id="no UTF-8"),
    pytest.param("pairs", ("a", 1), "<notText>", id="a number"),
    pytest.param(
        "labeled", ("a", "positive"), {"text": "a", "label": "positive"}, id="a label by name"
    ),
    pytest.param("labeled", ("a", 0), {"text": "a", "label": "negative"}, id="by number"),
    pytest.param("labeled", ("a", b"positive"), {"text": "a", "label": "positive"}, id="as bytes"),
    pytest.param("labeled", ("a", "neutral"), "<unknownLabel>", id="a label that is not named"),
    pytest.param("labeled", ("a", 2), "<unknownLabel>", id="a number beyond"),
    pytest.param("labeled", ("a", -1), "<unknownLabel>", id="a number below"),
    pytest.param("labeled", ("a", True), "<unknownLabel>", id="truth is no number"),
    pytest.param("labeled", ("a", "1"), "<unknownLabel>", id="a number in words"),
    pytest.param("labeled", ("", "positive"), "<empty>", id="no text"),
    pytest.param(
        "tags", (["a", "b"], ["positive", 0]),
        {"tokens": ["a", "b"], "tags": ["positive", "negative"]}, id="a tag for each token",
    ),
    pytest.param("tags", (["a", "b"], ["positive"]), "<lengthMismatch>", id="a tag too few"),
    pytest.param("tags", (["a"], ["other"]), "<unknownLabel>", id="a tag that is not named"),
    pytest.param("tags", (["a", " "], [0, 0]), "<empty>", id="an empty token"),
    pytest.param("tags", ([], []), "<empty>", id="no tokens"),
    pytest.param("tags", ("a b", "0 0"), "<notAList>", id="words in a string"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "values", "wanted"), OTHERS)
def test_other_types(type_: DatasetType, values: tuple[Any, ...], wanted: Any) -> None:
    assert made(type_, *values) == wanted


word = st.text(min_size=1).filter(str.strip).filter(lambda text: "\r" not in text)


@given(type_=st.sampled_from(get_args(DatasetType)), parts=st.lists(word, min_size=2, max_size=5))
def test_an_example_comes_back_from_its_line(type_: DatasetType, parts: list[str]) -> None:
    count = {"pairs": 2, "text": 1, "labeled": 1}.get(type_, len(parts))
    fixed = {"chat": sorted(ROLES)[:1] * count, "labeled": ["positive"], "tags": ["x"] * count}
    example = Example(type_, tuple(parts[:count]), tuple(fixed.get(type_, ())))
    line = example.encoded()
    assert decoded(type_, line) == example
    assert type_ == "text" or "\n" not in line


def test_labels_and_white_space_make_no_other_document() -> None:
    one = Example("labeled", ("a  b",), ("positive",))
    assert document_digest(one) == document_digest(Example("labeled", ("a b",), ("negative",)))
    assert document_digest(Example("pairs", ("a", "b c"))) != document_digest(
        Example("pairs", ("a b", "c"))
    )


def test_fields_are_read_by_their_names() -> None:
    assert Fields(target="answer").members("pairs") == ["source", "answer"]
    assert {type_: Fields().members(type_) for type_ in get_args(DatasetType)} == {
        type_: list(members) for type_, members in RECORD_MEMBERS.items()
    }


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_files_of_mixed_schemas(tmp_path: Path, format_: Format) -> None:
    """In Parquet a member that a row has not is null."""
    rows = [
        {"tokens": ["a", "b"], "tags": [0, 1]},
        {"tokens": ["a", "b"], "tags": [1]},
        {"tokens": ["a"], "tags": None},
        {"tokens": ["a"], "tags": [7]},
    ]
    file = tmp_path / "object"
    if format_ == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = Shape("tags", LABELS)
    found = [
        record if isinstance(record, Rejection) else example_of(shape, record)
        for record in read_records(file, format_, RECORD_MEMBERS["tags"])
    ]
    assert found == [
        Example("tags", ("a", "b"), ("negative", "positive")),
        Rejection.LENGTH_MISMATCH,
        Rejection.MISSING_FIELD,
        Rejection.UNKNOWN_LABEL,
    ]


def test_invalid_utf8_within_a_list_costs_its_row_alone(tmp_path: Path) -> None:
    tokens = pa.array([[b"a"], [b"\xff"], [b"b"]], pa.list_(pa.binary()))
    broken = tokens.cast(pa.list_(pa.string()), safe=False)
    pq.write_table(pa.table({"tokens": broken, "tags": [[0], [0], [1]]}), tmp_path / "object")
    found = list(read_records(tmp_path / "object", "parquet", RECORD_MEMBERS["tags"]))
    assert found == [(["a"], [0]), Rejection.INVALID_UTF8, (["b"], [1])]


@settings(deadline=None)
@given(st.lists(st.text(max_size=40).filter(lambda text: "\n" not in text)), st.integers(1, 64))
def test_shards_hold_all_lines_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], shard_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    written = list(write_lines(lines, folder, shard_bytes))
    bodies = [shard.file.read_bytes() for shard in written]
    assert b"".join(bodies).decode().split("\n") == [*lines, ""]
    assert [body.count(b"\n") for body in bodies] == [shard.examples for shard in written]
    assert all(
        len(b) <= shard_bytes or s.examples == 1 for b, s in zip(bodies, written, strict=True)
    )
