"""Traces: CSV files with a line per request, of which three columns count."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from llmcloud.scaling.simulate import Request

KNOWN: Final = {
    "timestamp": ("timestamp", "time", "arrival_time", "arrived_at"),
    "input": ("contexttokens", "input_tokens", "prompt_tokens", "request tokens"),
    "output": ("generatedtokens", "output_tokens", "completion_tokens", "response tokens"),
}
"""Names that the columns have in public traces, in lower case."""


@dataclass(frozen=True)
class Columns:
    """Names of columns; empty: the first known one."""

    timestamp: str = ""
    input_tokens: str = ""
    output_tokens: str = ""


class TraceError(Exception):
    """What is wrong with a trace, and what to do."""


def read_trace(path: Path, columns: Columns) -> list[Request]:
    """The requests by time, the first at 0. Times are ISO 8601 or seconds.

    Raises TraceError.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            requests = _read(file, path, columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path} cannot be read: {error}") from error
    if not requests:
        raise TraceError(f"{path} holds no request: it needs a line of names and a line each")
    requests.sort()
    first = requests[0][0]
    return [Request(time - first, inputs, outputs) for time, inputs, outputs in requests]


def _read(file: TextIO, path: Path, columns: Columns) -> list[tuple[float, int, int]]:
    reader = csv.reader(file)
    header = [name.strip() for name in next(reader, [])]
    chosen = (
        _column(path, header, columns.timestamp, KNOWN["timestamp"], "--timestamp-column"),
        _column(path, header, columns.input_tokens, KNOWN["input"], "--input-column"),
        _column(path, header, columns.output_tokens, KNOWN["output"], "--output-column"),
    )
    return [_request(path, reader.line_num, row, header, chosen) for row in reader if any(row)]


def _column(path: Path, header: Sequence[str], name: str, known: Iterable[str], option: str) -> int:
    if name:
        if name not in header:
            raise TraceError(
                f"{path} has no column {name!r}, but {', '.join(header)}: set {option}"
            )
        return header.index(name)
    lower = [column.lower() for column in header]
    for candidate in known:
        if candidate in lower:
            return lower.index(candidate)
    raise TraceError(
        f"{path}: none of its columns ({', '.join(header)}) is known to be the one that "
        f"{option} names: set it"
    )


def _request(
    path: Path, line: int, row: Sequence[str], header: Sequence[str], chosen: tuple[int, int, int]
) -> tuple[float, int, int]:
    if len(row) <= max(chosen):
        raise TraceError(f"{path}, line {line}: {len(row)} fields, but {len(header)} columns")
    time, inputs, outputs = (row[index] for index in chosen)
    try:
        seconds = _seconds(time)
    except ValueError:
        raise TraceError(
            f"{path}, line {line}: {header[chosen[0]]} is {time!r}, neither seconds nor ISO 8601"
        ) from None
    return (
        seconds,
        _tokens(path, line, header[chosen[1]], inputs),
        _tokens(path, line, header[chosen[2]], outputs),
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    if not abs(seconds) < float("inf"):
        raise ValueError(text)
    return seconds


def _tokens(path: Path, line: int, column: str, text: str) -> int:
    try:
        tokens = int(text)
    except ValueError:
        tokens = -1
    if tokens < 0:
        raise TraceError(f"{path}, line {line}: {column} is {text!r}, not a number of tokens")
    return tokens
