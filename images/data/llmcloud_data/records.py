"""Records: the bytes of one object become the members of records, one record at a time.

What cannot be read is a `Rejection` in its record's place, so that a record's position in its
object does not depend on what is wrong with others. Text is UTF-8; a byte-order mark is dropped.
Compression is seen from the first bytes, with which no UTF-8 text begins. An object that breaks
off is read up to there. No line, row or part above `RECORD_BYTES` is held.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, assert_never

import pyarrow as pa

from llmcloud.api.dataset import Format
from llmcloud_data.examples import BOM, RECORD_BYTES, Value
from llmcloud_data.parquet import parquet_records
from llmcloud_data.rejections import Rejection

Values = tuple[Value, ...]
"""One record's members, in the order asked for; None where there is none."""

CODECS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}

ZIP: Final = b"PK\x03\x04"
TAR: Final = b"ustar"
TAR_AT: Final = 257
TAR_END: Final = TAR_AT + len(TAR)

READ_BYTES: Final = 256 * 1024
JSON_SPACE: Final = " \t\n\r"

csv.field_size_limit(RECORD_BYTES)
_decoder: Final = json.JSONDecoder()


def read_records(
    file: Path, format_: Format, members: Sequence[str]
) -> Iterator[Values | Rejection]:
    """The records of an object, each in its place or the reason why it cannot be read.

    Formats text and code have one member, whatever its name.
    """
    if format_ == "parquet":
        return parquet_records(file, members)
    return _stream_records(file, format_, members)


def _stream_records(
    file: Path, format_: Format, members: Sequence[str]
) -> Iterator[Values | Rejection]:
    try:
        with _opened(file) as stream:
            if _is_archive(stream):
                yield Rejection.ARCHIVE
                return
            match format_:
                case "text" | "code":
                    for part in _parts(stream):
                        yield part if isinstance(part, Rejection) else (part,)
                case "jsonl":
                    yield from _json_records(stream, members)
                case "csv":
                    yield from _csv_records(stream, members)
                case "parquet":
                    raise AssertionError(format_)
                case _:
                    assert_never(format_)
    except OSError as error:
        if error.errno is not None:
            raise
        yield Rejection.CORRUPT


def _is_archive(stream: io.BufferedReader) -> bool:
    """Archives are not unpacked, so their names and links lead nowhere."""
    begin = stream.peek(TAR_END)[:TAR_END]
    return begin.startswith(ZIP) or begin[TAR_AT:TAR_END] == TAR


def _opened(file: Path) -> io.BufferedReader:
    """The bytes of a file, decompressed; errors of the compressed stream are OSErrors without a
    number."""
    with file.open("rb") as stream:
        codec = CODECS.get(stream.read(2))
    if codec is None:
        return io.BufferedReader(io.FileIO(file), READ_BYTES)
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(file)), codec))


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


def _json_records(stream: BinaryIO, members: Sequence[str]) -> Iterator[Values | Rejection]:
    """Members of the object on each line; blank lines are no records."""
    for line in _lines(stream):
        if isinstance(line, Rejection):
            yield line
        elif not line.isspace():
            yield _members(line, members)


def _members(line: bytes, members: Sequence[str]) -> Values | Rejection:
    try:
        text = line.decode().strip(JSON_SPACE)
        record, end = _decoder.raw_decode(text)
    except UnicodeDecodeError:
        return Rejection.INVALID_UTF8
    except (ValueError, RecursionError):
        return Rejection.INVALID_RECORD
    if end < len(text) or not isinstance(record, dict):
        return Rejection.INVALID_RECORD
    return tuple(record.get(member) for member in members)


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


def _csv_records(stream: BinaryIO, members: Sequence[str]) -> Iterator[Values | Rejection]:
    """Columns of the rows below the header (RFC 4180); empty lines are no rows."""
    rows = _rows(stream)
    header = next(rows, [])
    if isinstance(header, Rejection):
        yield header
        return
    places = [header.index(member) if member in header else None for member in members]
    for row in rows:
        if isinstance(row, Rejection):
            yield row
        elif row:
            yield tuple(
                row[place] if place is not None and place < len(row) else None for place in places
            )


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
