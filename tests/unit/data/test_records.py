"""How the bytes of an object become texts, whatever is in them."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmcloud.api.dataset import Format
from llmcloud_data.examples import RECORD_BYTES, Shape, example_of
from llmcloud_data.records import read_records
from llmcloud_data.rejections import Rejection

LARGE = b"x" * RECORD_BYTES
BOM = b"\xef\xbb\xbf"
Read = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The texts of bytes; a rejection is its reason in angle brackets."""

    def records(content: bytes, format_: Format, field: str = "text") -> list[str]:
        file = tmp_path / "object"
        file.write_bytes(content)
        found = []
        for record in read_records(file, format_, [field]):
            made = record if isinstance(record, Rejection) else example_of(Shape(), record)
            found.append(f"<{made}>" if isinstance(made, Rejection) else made.text)
        return found

    return records


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def tar(name: str) -> bytes:
    """An archive of a file and a link."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return body.getvalue()


TEXTS = [
    pytest.param(b"text", ["text"], id="one file is one text"),
    pytest.param(BOM + b"a\r\nb\rc\n", ["a\nb\nc\n"], id="a mark is dropped, lines end alike"),
    pytest.param(b"", ["<empty>"], id="no bytes"),
    pytest.param(BOM, ["<empty>"], id="only a mark"),
    pytest.param(b" \r\n\t", ["<empty>"], id="only white space"),
    pytest.param("caf\u00e9".encode("latin-1"), ["<invalidUtf8>"], id="another encoding"),
    pytest.param(LARGE + b"\nrest\n", ["<tooLarge>", "rest\n"], id="a line beyond the bound"),
    pytest.param(LARGE * 3, ["<tooLarge>"], id="a file of one endless line"),
    pytest.param(gzip.compress(b"text"), ["text"], id="gzip"),
    pytest.param(gzip.compress(b"a") + gzip.compress(b"b"), ["ab"], id="gzip of two members"),
    pytest.param(zstd(b"te") + zstd(b"xt"), ["text"], id="zstd of two frames"),
    pytest.param(gzip.compress(b"text" * 99)[:-9], ["<corrupt>"], id="gzip that breaks off"),
    pytest.param(zstd(b"text" * 99)[:-9], ["<corrupt>"], id="zstd that breaks off"),
    pytest.param(b"\x1f\x8bnot gzip at all", ["<corrupt>"], id="no gzip after all"),
    pytest.param(b"\x28\xb5\x2f\xfd", ["<corrupt>"], id="zstd without a frame"),
    pytest.param(tar("../../etc/passwd"), ["<archive>"], id="a tar archive"),
    pytest.param(gzip.compress(tar("a.txt")), ["<archive>"], id="a tar archive in gzip"),
    pytest.param(b"PK\x03\x04\x14\x00", ["<archive>"], id="a zip archive"),
    pytest.param(b"ustar", ["ustar"], id="only the word"),
]


@pytest.mark.parametrize("format_", ["text", "code"])
@pytest.mark.parametrize(("content", "texts"), TEXTS)
def test_a_file(read: Read, content: bytes, texts: list[str], format_: Format) -> None:
    assert read(content, format_) == texts


def test_a_long_file_is_cut_after_line_ends_and_loses_nothing(read: Read) -> None:
    content = b"".join(b"line %d \xc3\xa9\n" % number for number in range(1_200_000))
    parts = read(content, "text")
    assert "".join(parts).encode() == content
    assert len(parts) == len(content) // RECORD_BYTES + 1
    assert all(part.endswith("\n") for part in parts)


LINES = [
    pytest.param(b'{"text": "a"}\n{"text": "b"}', ["a", "b"], id="no last line end"),
    pytest.param(BOM + b'{"text": "a"}\r\n\r\n', ["a"], id="a mark, CRLF, a blank line"),
    pytest.param(b'{"text": "a\\r\\nb"}\n', ["a\nb"], id="line ends within a text"),
    pytest.param(b"", [], id="no records"),
    pytest.param(b'{"body": "a"}\n{"text": null}\n', ["<missingField>"] * 2, id="no such field"),
    pytest.param(b'{"text": 1}\n{"text": ["a"]}\n', ["<notText>"] * 2, id="a field of no text"),
    pytest.param(b'{"text": " "}\n{"text": "b"}', ["<empty>", "b"], id="a blank text"),
    pytest.param(b'{"text": "a"\n[1]\n"a"\n', ["<invalidRecord>"] * 3, id="no object"),
    pytest.param(b"[" * 100_000, ["<invalidRecord>"], id="nested without end"),
    pytest.param(b"9" * 10_000, ["<invalidRecord>"], id="a number without end"),
    pytest.param(b'{"text": "\xff"}\n{"text": "b"}', ["<invalidUtf8>", "b"], id="no UTF-8"),
    pytest.param(b'{"text": "\\ud800"}', ["<invalidUtf8>"], id="half a character"),
    pytest.param(
        b'{"text": "' + LARGE + b'"}\n{"text": "b"}\n', ["<tooLarge>", "b"], id="a huge line"
    ),
    pytest.param(b'{"text": "a", "text": "b"}', ["b"], id="a field twice: the last, as everywhere"),
    pytest.param(gzip.compress(b'{"text": "a"}\n' * 3), ["a"] * 3, id="gzip"),
]


@pytest.mark.parametrize(("content", "texts"), LINES)
def test_json_lines(read: Read, content: bytes, texts: list[str]) -> None:
    assert read(content, "jsonl") == texts


def test_lines_before_a_break_are_kept(read: Read) -> None:
    lines = b"".join(b"%s\n" % json.dumps({"text": f"text {n}"}).encode() for n in range(50_000))
    *texts, last = read(gzip.compress(lines)[:-1000], "jsonl")
    assert last == "<corrupt>"
    assert len(texts) > 10_000
    assert texts == [f"text {n}" for n in range(len(texts))]


ROWS = [
    pytest.param(b"id,text\n1,a\n2,b\n", ["a", "b"], id="a column"),
    pytest.param(BOM + b'text\r\n"a,""b"""\r\n', ['a,"b"'], id="a mark, CRLF, quotes"),
    pytest.param(b'text,id\n"a\r\nb",1\n', ["a\nb"], id="line ends within a text"),
    pytest.param(b"id,body\n1,a\n", ["<missingField>"], id="no such column"),
    pytest.param(b"text,text\na,b\n", ["a"], id="two columns of one name: the first"),
    pytest.param(b"id,text\n1\n2,b\n", ["<missingField>", "b"], id="a short row"),
    pytest.param(b"text,id\n,1\n\nb,2\n", ["<empty>", "b"], id="an empty text, an empty line"),
    pytest.param(b"text\n\xff\nb\n", ["<invalidUtf8>", "b"], id="no UTF-8"),
    pytest.param(b"", [], id="no header"),
    pytest.param(b"text\n" + LARGE + b"\nb\n", ["<tooLarge>", "b"], id="a huge line"),
    pytest.param(
        b'text\n"' + (b"y" * 999 + b"\n") * (RECORD_BYTES // 1000 + 1) + b'"\nb\n',
        ["<tooLarge>", "\nb\n"], id="a quoted text beyond the bound",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "texts"), ROWS)
def test_rows(read: Read, content: bytes, texts: list[str]) -> None:
    assert read(content, "csv") == texts


def parquet(file: Path, columns: dict[str, pa.Array]) -> bytes:
    pq.write_table(pa.table(columns), file)
    return file.read_bytes()


def test_parquet(read: Read, tmp_path: Path) -> None:
    broken = pa.array([b"a", b"\xff"], pa.binary()).cast(pa.string(), safe=False)
    content = parquet(
        tmp_path / "file",
        {
            "text": pa.array(["a\r\n", None]),
            "broken": broken,
            "large": pa.array(["c", " "], pa.large_string()),
            "kinds": pa.array(["d", "d"]).dictionary_encode(),
            "id": pa.array([1, 2]),
        },
    )
    assert read(content, "parquet") == ["a\n", "<missingField>"]
    assert read(content, "parquet", "broken") == ["a", "<invalidUtf8>"]
    assert read(content, "parquet", "large") == ["c", "<empty>"]
    assert read(content, "parquet", "kinds") == ["d", "d"]
    assert read(content, "parquet", "id") == ["<notText>"] * 2
    assert read(content, "parquet", "body") == ["<missingField>"] * 2
    assert read(content[:-20], "parquet") == ["<corrupt>"]
    assert read(b"", "parquet") == ["<corrupt>"]


def test_of_two_parquet_columns_of_one_name_the_first_is_read(read: Read, tmp_path: Path) -> None:
    columns = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    pq.write_table(pa.table(columns, names=["id", "text", "text"]), tmp_path / "file")
    assert read((tmp_path / "file").read_bytes(), "parquet") == ["b"]


def test_a_damaged_parquet_file_is_read_up_to_the_damage(read: Read, tmp_path: Path) -> None:
    table = pa.table({"text": [f"text {n}" for n in range(10_000)]})
    pq.write_table(table, tmp_path / "file", row_group_size=1000, write_page_checksum=True)
    content = bytearray((tmp_path / "file").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = bytes(500)
    *texts, last = read(bytes(content), "parquet")
    assert last == "<corrupt>"
    assert texts == [f"text {n}" for n in range(len(texts))]
    assert len(texts) >= 1000


LINE_MEBIBYTES = 256
MEMORY = """
import sys, pathlib
from llmcloud_data.records import read_records
def peak_kib():  # not ru_maxrss, which a process has from the one that started it
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak_kib()
for format_ in ("text", "jsonl", "csv"):
    print(format_, *read_records(pathlib.Path(sys.argv[1]), format_, ["text"]))
print((peak_kib() - before) // 1024)
"""


def test_memory_does_not_grow_with_the_length_of_a_line(tmp_path: Path) -> None:
    """Compressed a thousandfold, as a bomb would be."""
    file = tmp_path / "bomb"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        for _ in range(LINE_MEBIBYTES):
            stream.write(b"x" * 1024 * 1024)
    command = [sys.executable, "-c", MEMORY, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, grown = done.stdout.split("\n")[:-1]
    assert lines == ["text tooLarge", "jsonl tooLarge", "csv tooLarge"]
    assert int(grown) < 64
