"""Packing: every token in order, whole sequences, bounded files."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud_data.shards import REST, pack

piece = st.lists(st.integers(0, 2**32 - 1), max_size=40)
streams = st.lists(piece, max_size=30)


@settings(deadline=None)
@given(streams, st.integers(1, 16), st.integers(1, 512))
def test_shards_and_their_rest_hold_the_stream(
    stream: list[list[int]], length: int, shard_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shards = list(pack(stream, Path(folder), length, shard_bytes))
        read = [np.fromfile(shard.file, dtype="<u4").tolist() for shard in shards]
        rest = np.fromfile(Path(folder) / REST, dtype="<u4").tolist()
    tokens = list(itertools.chain(*stream))
    assert list(itertools.chain(*read, rest)) == tokens
    assert len(rest) == len(tokens) % length
    assert [len(ids) for ids in read] == [shard.sequences * length for shard in shards]
    assert all(0 < len(ids) * 4 <= max(shard_bytes, length * 4) for ids in read)
