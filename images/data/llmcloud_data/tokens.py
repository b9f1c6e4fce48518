"""The tokenizer: byte-level BPE, trained on the training documents, saved as Hugging Face expects.

Training is deterministic: the same texts in the same order give the same bytes.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END_OF_TEXT: Final = "<|endoftext|>"
PADDING: Final = "<|pad|>"
SAMPLE_CHARACTERS: Final = 256 * 1024 * 1024
"""The tokenizer is trained on at most this much text; memory grows with its different words."""

PIECE_CHARACTERS: Final = 1024 * 1024
BATCH_CHARACTERS: Final = 2 * 1024 * 1024


def train(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A tokenizer of at most `vocabulary_size` tokens; small texts give fewer.

    Sennrich et al. 2016 (BPE) on bytes, as in GPT-2; digits are single tokens, as in Llama.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(texts), trainer)
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


def encode(tokenizer: Tokenizer, documents: Iterable[str]) -> Iterator[list[int]]:
    """Token ids of the documents, in pieces, each document closed by the end of text.

    A special token's name in the text is text: nobody can forge an end of text. Batches are
    encoded on all cores.
    """
    tokenizer.encode_special_tokens = True
    end = [end_of_text_id(tokenizer)]
    for batch in _batches(documents):
        texts = [text for text in batch if text is not None]
        encodings = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        for text in batch:
            yield end if text is None else next(encodings).ids


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
