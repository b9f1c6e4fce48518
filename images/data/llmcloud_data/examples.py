"""Examples: the records of each type, what is learned from them, and how shards hold them.

An example is its `parts`, the strings that are cleaned, redacted, compared and counted, and
what stays as it is beside them: roles, a label, tags. A text is an example of one part.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

from llmcloud.api.dataset import DatasetType
from llmcloud_data.rejections import Rejection

Value = Any
"""A member of a record as its format gives it; bytes where that does not vouch for UTF-8."""

ROLES: Final = frozenset({"system", "user", "assistant", "tool"})
BOM: Final = b"\xef\xbb\xbf"
RECORD_BYTES: Final = 8 * 1024 * 1024
"""No example is longer: a longer text file is cut after line ends, a longer record is rejected."""


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a type; `fixed` holds a name for each part (chat: roles, tags: tags), or
    the label."""

    type: DatasetType
    parts: tuple[str, ...]
    fixed: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is judged and compared."""
        return (" " if self.type == "tags" else "\n").join(self.parts)

    @property
    def blank(self) -> bool:
        """Nothing, or (but for messages, of which some may be empty) a part of nothing."""
        blanks = [not part or part.isspace() for part in self.parts]
        return all(blanks) or (self.type != "chat" and any(blanks))

    def mapped(self, change: Callable[[str], str]) -> "Example":
        """The same with every part changed."""
        return replace(self, parts=tuple(map(change, self.parts)))

    def encoded(self) -> str:
        """A text as it is, others as the line of `dataset_files.ShardEntry`."""
        if self.type == "text":
            return self.parts[0]
        return json.dumps(self._wire(), ensure_ascii=False, separators=(",", ":"))

    def _wire(self) -> dict[str, Any]:
        match self.type:
            case "text":
                raise AssertionError(self.type)
            case "chat":
                turns = zip(self.fixed, self.parts, strict=True)
                return {"messages": [{"role": role, "content": part} for role, part in turns]}
            case "pairs":
                return {"source": self.parts[0], "target": self.parts[1]}
            case "labeled":
                return {"text": self.parts[0], "label": self.fixed[0]}
            case "tags":
                return {"tokens": list(self.parts), "tags": list(self.fixed)}
            case _:
                assert_never(self.type)


def decoded(type_: DatasetType, line: str) -> Example:
    """What `Example.encoded` gave."""
    if type_ == "text":
        return Example(type_, (line,))
    wire = json.loads(line)
    match type_:
        case "chat":
            turns = wire["messages"]
            return Example(
                type_,
                tuple(turn["content"] for turn in turns),
                tuple(turn["role"] for turn in turns),
            )
        case "pairs":
            return Example(type_, (wire["source"], wire["target"]))
        case "labeled":
            return Example(type_, (wire["text"],), (wire["label"],))
        case "tags":
            return Example(type_, tuple(wire["tokens"]), tuple(wire["tags"]))
        case _:
            assert_never(type_)


class _Unfit(Exception):
    """A record is no example of its type."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection)
        self.rejection = rejection


@dataclass(frozen=True, slots=True)
class Shape:
    """What a dataset's documents are."""

    type: DatasetType = "text"
    labels: tuple[str, ...] = ()


def example_of(shape: Shape, values: Sequence[Value]) -> Example | Rejection:
    """The example that a record's members make, in the order of `RECORD_MEMBERS`, or why none."""
    try:
        example = _example(shape.type, shape.labels, values)
    except _Unfit as unfit:
        return unfit.rejection
    if _is_too_large(example.parts):
        return Rejection.TOO_LARGE
    return Rejection.EMPTY if example.blank else example


def _is_too_large(parts: Sequence[str]) -> bool:
    """Whether they have more than `RECORD_BYTES` of UTF-8; no character has more than 4."""
    if 4 * sum(map(len, parts)) <= RECORD_BYTES:
        return False
    return sum(len(part.encode()) for part in parts) > RECORD_BYTES


def _example(type_: DatasetType, labels: Sequence[str], values: Sequence[Value]) -> Example:
    if any(value is None for value in values):
        raise _Unfit(Rejection.MISSING_FIELD)
    match type_:
        case "text" | "pairs":
            return Example(type_, tuple(map(_text, values)))
        case "chat":
            return _chat(values[0])
        case "labeled":
            return Example(type_, (_text(values[0]),), (_label(values[1], labels),))
        case "tags":
            tokens, tags = map(_list, values)
            if len(tokens) != len(tags):
                raise _Unfit(Rejection.LENGTH_MISMATCH)
            return Example(
                type_, tuple(map(_text, tokens)), tuple(_label(tag, labels) for tag in tags)
            )
        case _:
            assert_never(type_)


def _chat(value: Value) -> Example:
    roles, contents = [], []
    for turn in _list(value):
        if not isinstance(turn, dict):
            raise _Unfit(Rejection.INVALID_RECORD)
        role = turn.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise _Unfit(Rejection.UNKNOWN_ROLE)
        if turn.get("content") is None:
            raise _Unfit(Rejection.MISSING_FIELD)
        roles.append(role)
        contents.append(_text(turn["content"]))
    if roles and "assistant" not in roles:
        raise _Unfit(Rejection.NO_ANSWER)
    return Example("chat", tuple(contents), tuple(roles))


def _list(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise _Unfit(Rejection.NOT_A_LIST)
    return value


def _label(value: Value, labels: Sequence[str]) -> str:
    """A label by its name, or by its number where the format has numbers."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(labels):
        return labels[value]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str) or value not in labels:
        raise _Unfit(Rejection.UNKNOWN_LABEL)
    return value


def _text(value: Value) -> str:
    """A string whose lines end in newlines alone."""
    if not isinstance(value, bytes | str):
        raise _Unfit(Rejection.NOT_TEXT)
    try:
        text = value if isinstance(value, str) else value.removeprefix(BOM).decode()
        if not text.isascii():
            text.encode()  # a JSON string may hold lone surrogates, which no UTF-8 can
    except UnicodeError:
        raise _Unfit(Rejection.INVALID_UTF8) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
