"""Packing: documents of a part on one side of the split become shards and tokens are counted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from llmcloud.api.dataset import DatasetType
from llmcloud_data import shards, tokens
from llmcloud_data.examples import decoded
from llmcloud_data.shards import TOKEN, Shard

Lines = Callable[[], Iterator[str]]
"""Documents as `Example.encoded` gives them, as often as they are asked for."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How documents become shards."""

    type: DatasetType
    tokenizer: Tokenizer
    sequence_length_tokens: int
    end_of_text_id: int

    def shards(self, lines: Lines, folder: Path) -> Iterator[Shard]:
        """Lines of examples; or sequences of tokens, and less than one in `shards.REST`."""
        if self.type != "text":
            return shards.write_lines(lines(), folder)
        stream = tokens.encode(self.tokenizer, lines(), self.end_of_text_id)
        return shards.pack(stream, folder, self.sequence_length_tokens)

    def joined(self, rests: Sequence[Path], folder: Path) -> Iterator[Shard]:
        """Sequences of what was left of parts; the end, less than one, is left out."""
        stream = (np.fromfile(file, dtype=TOKEN).tolist() for file in rests)
        return shards.pack(stream, folder, self.sequence_length_tokens)

    def example_tokens(self, lines: Lines) -> int:
        """Tokens of the texts of examples; 0 for type text, whose tokens are in its sequences."""
        if self.type == "text":
            return 0
        return tokens.count(self.tokenizer, (decoded(self.type, line).text for line in lines()))
