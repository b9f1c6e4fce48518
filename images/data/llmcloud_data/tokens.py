"""The tokenizer at work: trained on a sample, saved as Hugging Face expects, encoding documents."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from llmcloud.api.dataset import Algorithm
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_data import vocabularies
from llmcloud_data.vocabularies import END_OF_TEXT, PADDING

SAMPLE_CHARACTERS: Final = 256 * 1024 * 1024
"""The tokenizer is trained on at most this much text; memory grows with its different words."""

PIECE_CHARACTERS: Final = 1024 * 1024
BATCH_CHARACTERS: Final = 2 * 1024 * 1024


def train(algorithm: Algorithm, texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A tokenizer trained on the first `SAMPLE_CHARACTERS` of the texts.

    Raises ConfigurationInvalid if single bytes alone are more than `vocabulary_size`.
    """
    tokenizer = vocabularies.train(algorithm, _sample(texts), vocabulary_size)
    if (size := tokenizer.get_vocab_size()) > vocabulary_size:
        raise ConfigurationInvalid(
            f"A {algorithm} tokenizer has at least {size} tokens: raise "
            "spec.tokenizer.train.vocabularySize."
        )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, sequence_length_tokens: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json."""
    special = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PADDING}
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "special_tokens_map.json", special)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": sequence_length_tokens,
            "clean_up_tokenization_spaces": False,
            **special,
        },
    )


def encode(tokenizer: Tokenizer, documents: Iterable[str], end_of_text: int) -> Iterator[list[int]]:
    """Token ids of the documents, in pieces, each document closed by the end of text.

    A special token's name in the text is text: nobody can forge an end of text. Batches are
    encoded on all cores.
    """
    end = [end_of_text]
    return (end if ids is None else ids for ids in _encoded(tokenizer, documents))


def count(tokenizer: Tokenizer, documents: Iterable[str]) -> int:
    """How many tokens the documents have, without their ends."""
    return sum(len(ids) for ids in _encoded(tokenizer, documents) if ids is not None)


def _encoded(tokenizer: Tokenizer, documents: Iterable[str]) -> Iterator[list[int] | None]:
    """Token ids of the pieces of all documents, None after each document's last."""
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for batch in _batches(documents):
        texts = [text for text in batch if text is not None]
        encodings = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        for text in batch:
            yield None if text is None else next(encodings).ids


def end_of_text_id(tokenizer: Tokenizer) -> int:
    number = tokenizer.token_to_id(END_OF_TEXT)
    assert number is not None
    return number


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of at most PIECE_CHARACTERS, cut after a line end if one is there."""
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        limit = start + PIECE_CHARACTERS
        cut = text.rfind("\n", start, limit) + 1 or limit
        yield text[start:cut]
        start = cut
    yield text[start:]


def _batches(documents: Iterable[str]) -> Iterator[list[str | None]]:
    """The pieces of all documents in order, None after each document's last."""
    batch: list[str | None] = []
    characters = 0
    for text in documents:
        for piece in pieces(text):
            batch.append(piece)
            characters += len(piece)
            if characters >= BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
        batch.append(None)
    yield batch


def _sample(texts: Iterable[str]) -> Iterator[str]:
    left = SAMPLE_CHARACTERS
    for text in texts:
        for piece in pieces(text):
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return


def _write(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
