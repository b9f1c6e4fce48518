"""Records: the bytes of one object become texts, one at a time, none above `RECORD_BYTES`.

What cannot be read is a `Rejection` in its record's place, so that a record's position in its
object does not depend on what is wrong with others. Text is UTF-8; a byte-order mark is dropped
and line ends become newlines. Compression is seen from the first bytes, with which no UTF-8
text begins. An object that breaks off is read up to there.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, assert_never

import pyarrow as pa

from llmcloud.api.dataset import Format
from llmcloud_data.parquet import parquet_records
from llmcloud_data.rejections import Rejection

RECORD_BYTES: Final = 8 * 1024 * 1024
"""No text is longer: a longer file is cut after line ends, a longer record is rejected."""

BOM: Final = b"\xef\xbb\xbf"
CODECS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}

csv.field_size_limit(RECORD_BYTES)


def read_records(file: Path, format_: Format, field: str) -> Iterator[str | Rejection]:
    """The texts of an object, each in its place or the reason why it is none."""
    if format_ == "parquet":
        found: Iterator[bytes | str | Rejection] = parquet_records(file, field)
    else:
        found = _stream_records(file, format_, field)
    for record in found:
        yield record if isinstance(record, Rejection) else _text(record)


def _stream_records(file: Path, format_: Format, field: str) -> Iterator[bytes | str | Rejection]:
    try:
        with _opened(file) as stream:
            match format_:
                case "text" | "code":
                    yield from _parts(stream)
                case "jsonl":
                    yield from _json_texts(stream, field)
                case "csv":
                    yield from _csv_texts(stream, field)
                case "parquet":
                    raise AssertionError(format_)
                case _:
                    assert_never(format_)
    except OSError as error:
        if error.errno is not None:
            raise
        yield Rejection.CORRUPT


def _opened(file: Path) -> BinaryIO:
    """The bytes of a file, decompressed; errors of the compressed stream are OSErrors without a
    number."""
    with file.open("rb") as stream:
        codec = CODECS.get(stream.read(2))
    if codec is None:
        return file.open("rb")
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(file)), codec))


def _text(record: bytes | str) -> str | Rejection:
    """A record as text, or why it is none."""
    try:
        # A JSON string may hold lone surrogates, which no UTF-8 can.
        encoded = record.encode() if isinstance(record, str) else record.removeprefix(BOM)
        text = record if isinstance(record, str) else encoded.decode()
    except UnicodeError:
        return Rejection.INVALID_UTF8
    if len(encoded) > RECORD_BYTES:
        return Rejection.TOO_LARGE
    if not text.strip():
        return Rejection.EMPTY
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parts(stream: BinaryIO) -> Iterator[bytes | Rejection]:
    """A whole file, or its parts: each the lines that fit below `RECORD_BYTES`."""
    data = stream.read(RECORD_BYTES)
    if not data:
        yield Rejection.EMPTY
    while len(data) == RECORD_BYTES:
        cut = data.rfind(b"\n") + 1
        if cut:
            yield data[:cut]
            data = data[cut:]
        else:
            yield Rejection.TOO_LARGE
            _skip_line(stream)
            data = b""
        data += stream.read(RECORD_BYTES - len(data))
    if data:
        yield data


def _lines(stream: BinaryIO) -> Iterator[bytes | Rejection]:
    """Lines with their ends, the first without its byte-order mark."""
    mark = BOM
    while line := stream.readline(RECORD_BYTES):
        if len(line) == RECORD_BYTES and not line.endswith(b"\n"):
            _skip_line(stream)
            yield Rejection.TOO_LARGE
        else:
            yield line.removeprefix(mark)
        mark = b""


def _skip_line(stream: BinaryIO) -> None:
    while (rest := stream.readline(RECORD_BYTES)) and not rest.endswith(b"\n"):
        pass


def _json_texts(stream: BinaryIO, field: str) -> Iterator[str | Rejection]:
    """One member of the object on each line; blank lines are no records."""
    for line in _lines(stream):
        if isinstance(line, Rejection):
            yield line
        elif line.strip():
            yield _member(line, field)


def _member(line: bytes, field: str) -> str | Rejection:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        return Rejection.INVALID_UTF8
    except (ValueError, RecursionError):
        return Rejection.INVALID_RECORD
    if not isinstance(record, dict):
        return Rejection.INVALID_RECORD
    value = record.get(field)
    if value is None:
        return Rejection.MISSING_FIELD
    return value if isinstance(value, str) else Rejection.NOT_TEXT


class _RowLines(Iterator[str]):
    """Lines for csv.reader, which asks for more while a quote is open; bounds what it holds."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = _lines(stream)
        self.row_bytes = 0

    def __next__(self) -> str:
        line = next(self._lines)
        if isinstance(line, Rejection):
            raise _BrokenRow(line)
        self.row_bytes += len(line)
        if self.row_bytes > RECORD_BYTES:
            raise _BrokenRow(Rejection.TOO_LARGE)
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise _BrokenRow(Rejection.INVALID_UTF8) from None


class _BrokenRow(Exception):
    """A line of a row cannot be read; csv.reader begins anew after it."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection)
        self.rejection = rejection


def _csv_texts(stream: BinaryIO, field: str) -> Iterator[str | Rejection]:
    """One column of the rows below the header (RFC 4180); empty lines are no rows."""
    rows = _rows(stream)
    header = next(rows, [])
    if isinstance(header, Rejection):
        yield header
        return
    column = header.index(field) if field in header else sys.maxsize
    for row in rows:
        if isinstance(row, Rejection):
            yield row
        elif row:
            yield row[column] if column < len(row) else Rejection.MISSING_FIELD


def _rows(stream: BinaryIO) -> Iterator[list[str] | Rejection]:
    lines = _RowLines(stream)
    reader = csv.reader(lines)
    while True:
        lines.row_bytes = 0
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Rejection.INVALID_RECORD
        except _BrokenRow as broken:
            yield broken.rejection
