"""Tokenizers and how they are trained: BPE, Unigram and WordPiece, all on bytes.

All work on the bytes of UTF-8 written as characters, as GPT-2 does, so that every text comes
back as it was and nothing is unknown. Digits are single tokens, as in Llama. What training leaves
to chance (the order of a hash table) is put in order here: the same texts give the same bytes.
"""

import json
from collections.abc import Iterable
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from llmcloud.api.dataset import Algorithm

END_OF_TEXT: Final = "<|endoftext|>"
PADDING: Final = "<|pad|>"
SPECIAL: Final = [END_OF_TEXT, PADDING]
CONTINUED: Final = "##"
WORD_BYTES: Final = 64
"""A longer word is cut for WordPiece, whose time grows with the square of a word's length."""
SCORE_DIGITS: Final = 3
"""Scores of Unigram are sums of floats in an order that differs from run to run by 1e-10."""
SCORE_STEP: Final = 0.001
BYTES: Final = 256
DROPPED_STEP: Final = 0.0001
"""By so much the trainer raises the score of each byte that it puts back."""


def train(algorithm: Algorithm, texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A tokenizer of at most `vocabulary_size` tokens; small texts give fewer."""
    match algorithm:
        case "bpe":
            tokenizer = _bpe(texts, vocabulary_size)
        case "unigram":
            tokenizer = _unigram(texts, vocabulary_size)
        case "wordpiece":
            tokenizer = _wordpiece(texts, vocabulary_size)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _bpe(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """R. Sennrich, B. Haddow and A. Birch, "Neural Machine Translation of Rare Words with
    Subword Units", 2016."""
    tokenizer = _on_bytes(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _unigram(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """T. Kudo, "Subword Regularization", 2018."""
    trained = _on_bytes(Tokenizer(models.Unigram()))
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    pieces: dict[str, float] = dict(json.loads(trained.to_str())["model"]["vocab"])
    tokenizer = _on_bytes(Tokenizer(models.Unigram(_ordered(pieces))))
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def _ordered(pieces: dict[str, float]) -> list[tuple[str, float]]:
    """Pieces by falling score.

    Bytes that training dropped come back with the lowest score and a little more, in any order:
    they get scores below it, in that of the alphabet.
    """
    scores = {piece: score for piece, score in pieces.items() if piece not in SPECIAL}
    lowest = min(scores.values())
    band = lowest + BYTES * DROPPED_STEP
    dropped = sorted(piece for piece, score in scores.items() if len(piece) == 1 and score <= band)
    scores |= {piece: lowest - SCORE_STEP * (n + 1) for n, piece in enumerate(dropped)}
    rounded = [(piece, round(score, SCORE_DIGITS)) for piece, score in scores.items()]
    rounded.sort(key=lambda item: (-item[1], item[0]))
    return [(piece, 0.0) for piece in SPECIAL] + rounded


def _wordpiece(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """M. Schuster and K. Nakajima, "Japanese and Korean Voice Search", 2012, as BERT has it.

    Punctuation stands alone, so that "##" in a text is never taken for the mark of a piece that
    continues a word.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = _wordpiece_on_bytes({})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        # Given as special tokens, the alphabet within words has its numbers before training.
        special_tokens=SPECIAL + [CONTINUED + character for character in alphabet],
        initial_alphabet=alphabet,
        continuing_subword_prefix=CONTINUED,
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    tokenizer = _wordpiece_on_bytes(json.loads(trained.to_str())["model"]["vocab"])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def _wordpiece_on_bytes(vocabulary: dict[str, int]) -> Tokenizer:
    model = models.WordPiece(vocabulary, unk_token=PADDING, max_input_chars_per_word=WORD_BYTES)
    tokenizer = _on_bytes(Tokenizer(model))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("isolated"),
            tokenizer.pre_tokenizer,
            pre_tokenizers.FixedLength(WORD_BYTES),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(Regex(f"^{CONTINUED}"), ""), decoders.ByteLevel()]
    )
    return tokenizer


def _on_bytes(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
