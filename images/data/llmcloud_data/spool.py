"""A spool: texts on disk one after another, read again in order or by number.

Memory holds eight bytes for each text, and the one that is read.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Self


class Spool:
    """Texts in the order in which they came, in a new file that the end of `with` deletes."""

    def __init__(self, file: Path) -> None:
        self.bytes = 0
        self._ends = array("Q")
        self._file = file
        self._stream = file.open("x+b")

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, text: str) -> None:
        self._stream.seek(self.bytes)
        self.bytes += self._stream.write(text.encode())
        self._ends.append(self.bytes)

    def __getitem__(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        self._stream.seek(start)
        return self._stream.read(self._ends[number] - start).decode()

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()
        self._file.unlink()
