"""Words of a text as numbers: stable 64-bit hashes, and those of runs of words.

The same in every process and on every machine, because duplicates are decided by them.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

CACHED_WORDS: Final = 200_000
"""About 30 MB of words whose hashes are kept."""

_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[^\W{_UNSPACED}]+|[{_UNSPACED}]")
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


class _Cache(dict[str, int]):
    def __missing__(self, word: str) -> int:
        if len(self) >= CACHED_WORDS:
            self.clear()
        value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
        self[word] = value
        return value


_hash_of: Final = _Cache()


def simple_words(text: str) -> list[str]:
    """Words in lower case without punctuation; scripts that put no spaces give characters."""
    return _WORD.findall(text.lower())


def word_hashes(words: Iterable[str]) -> Hashes:
    return np.fromiter(map(_hash_of.__getitem__, words), dtype=np.uint64)


def run_hashes(hashes: Hashes, length: int) -> Hashes:
    """One hash for every run of `length` words; a shorter text is one run."""
    length = min(length, len(hashes))
    count = len(hashes) - length + 1
    runs = np.zeros(count if length else 0, dtype=np.uint64)
    for place in range(length):
        runs = longer_runs(runs, hashes[place : place + count])
    return runs


def longer_runs(runs: Hashes, words: Hashes) -> Hashes:
    """The hashes of runs to each of which a word is added."""
    return mixed(runs * _MULTIPLIER + words)


def mixed(values: Hashes) -> Hashes:
    """The finalizer of MurmurHash3 (A. Appleby), a bijection."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values
