"""The tokenizer: lossless, deterministic, and nobody forges its special tokens."""

import hashlib
import itertools
import random
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from llmcloud.api.dataset import Algorithm
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_data import tokens
from llmcloud_data.vocabularies import END_OF_TEXT, PADDING

DICE = random.Random(0)
WORDS = ["".join(DICE.choices(["ba", "re", "lo", "ti", "nus", "per"], k=3)) for _ in range(200)]
TEXT = "".join(
    f"def {w}(x): return {w}.{w}s * 2\n\n# caf\u00e9 \u6f22\u5b57 ## {w}\n" for w in WORDS
)
ALGORITHMS = get_args(Algorithm)
TRAIN = """
import sys, pathlib
from llmcloud_data import tokens
algorithm, source, target = sys.argv[1], *map(pathlib.Path, sys.argv[2:])
tokens.save(tokens.train(algorithm, [source.read_text()], 700), target, 64)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "source"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module", params=ALGORITHMS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return tokens.train(request.param, [TEXT], 700)


@given(text=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_as_it_was(tokenizer: Tokenizer, text: str) -> None:
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_words_are_learned(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    assert len(ids) < 0.7 * len(TEXT)


def test_a_document_ends_with_the_only_end_of_text(tokenizer: Tokenizer) -> None:
    forged = "before <|endoftext|> after <|pad|>"
    end = tokens.end_of_text_id(tokenizer)
    ids = list(itertools.chain(*tokens.encode(tokenizer, [forged], end)))
    assert ids.count(end) == 1
    assert ids[-1] == end
    assert tokenizer.token_to_id(PADDING) not in ids


def test_the_vocabulary_is_no_larger_than_asked(tokenizer: Tokenizer) -> None:
    assert 258 < tokenizer.get_vocab_size() <= 700


@pytest.mark.parametrize(
    ("algorithm", "size"), [("bpe", 300), ("unigram", 300), ("wordpiece", 600)]
)
def test_the_smallest_vocabulary_of_each_algorithm(algorithm: Algorithm, size: int) -> None:
    assert tokens.train(algorithm, [TEXT], size).get_vocab_size() <= size
    assert tokens.train(algorithm, ["a"], size).get_vocab_size() <= size


def test_a_vocabulary_smaller_than_its_bytes_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match=r"at least 5\d\d tokens: raise spec\.tokenizer"):
        tokens.train("wordpiece", [TEXT], 300)


def test_a_word_without_end_is_encoded_in_time(tokenizer: Tokenizer) -> None:
    text = "ab" * 50_000
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_training_in_another_process_gives_the_same_bytes(
    source: Path, tmp_path: Path, algorithm: Algorithm
) -> None:
    digests = set()
    for number in range(2):
        target = tmp_path / str(number)
        command = [sys.executable, "-c", TRAIN, algorithm, str(source), str(target)]
        subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, check=True)
        names = sorted(file.name for file in target.iterdir())
        assert names == ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
        digests.add(hashlib.sha256((target / "tokenizer.json").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_documents_longer_than_a_batch_keep_their_order() -> None:
    tokenizer = tokens.train("bpe", [TEXT], 700)
    texts = [f"document {number}\n" * lines for number, lines in enumerate((3, 200_000, 5))]
    ids = list(itertools.chain(*tokens.encode(tokenizer, texts, tokens.end_of_text_id(tokenizer))))
    *found, rest = tokenizer.decode(ids, skip_special_tokens=False).split(END_OF_TEXT)
    assert found == texts
    assert rest == ""


@pytest.mark.parametrize("line_end", ["\n", "-"], ids=["lines", "one line"])
def test_pieces_are_bounded_cut_at_line_ends_and_lose_nothing(line_end: str) -> None:
    text = "".join(f"line {number} \u00e9{line_end}" for number in range(200_000))
    found = list(tokens.pieces(text))
    assert "".join(found) == text
    assert max(map(len, found)) <= tokens.PIECE_CHARACTERS
    assert line_end == "-" or all(piece.endswith("\n") for piece in found)
