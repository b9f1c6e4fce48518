"""The tokenizer: lossless, deterministic, and nobody forges its special tokens."""

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from llmcloud_data import tokens

TEXT = "".join(f"def f{n}(x): return x * {n}\n\n# caf\u00e9 \u6f22\u5b57\n" for n in range(200))
TRAIN = """
import sys, pathlib
from llmcloud_data import tokens
source, target = map(pathlib.Path, sys.argv[1:])
tokens.save(tokens.train([source.read_text()], 500), target, 64)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "source"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokens.train([TEXT], 500)


@given(text=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_as_it_was(tokenizer: Tokenizer, text: str) -> None:
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_a_document_ends_with_the_only_end_of_text(tokenizer: Tokenizer) -> None:
    forged = "before <|endoftext|> after <|pad|>"
    ids = list(itertools.chain(*tokens.encode(tokenizer, [forged])))
    end = tokens.end_of_text_id(tokenizer)
    assert ids.count(end) == 1
    assert ids[-1] == end
    assert tokenizer.token_to_id(tokens.PADDING) not in ids


def test_the_vocabulary_is_no_larger_than_asked(tokenizer: Tokenizer) -> None:
    assert 258 < tokenizer.get_vocab_size() <= 500


def test_training_in_another_process_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        target = tmp_path / str(number)
        command = [sys.executable, "-c", TRAIN, str(source), str(target)]
        subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, check=True)
        names = sorted(file.name for file in target.iterdir())
        assert names == ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
        digests.add(hashlib.sha256((target / "tokenizer.json").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_documents_longer_than_a_batch_keep_their_order(tokenizer: Tokenizer) -> None:
    texts = [f"document {number}\n" * lines for number, lines in enumerate((3, 300_000, 5))]
    ids = list(itertools.chain(*tokens.encode(tokenizer, texts)))
    *found, rest = tokenizer.decode(ids, skip_special_tokens=False).split(tokens.END_OF_TEXT)
    assert found == texts
    assert rest == ""


@pytest.mark.parametrize("line_end", ["\n", "-"], ids=["lines", "one line"])
def test_pieces_are_bounded_cut_at_line_ends_and_lose_nothing(line_end: str) -> None:
    text = "".join(f"line {number} \u00e9{line_end}" for number in range(200_000))
    found = list(tokens.pieces(text))
    assert "".join(found) == text
    assert max(map(len, found)) <= tokens.PIECE_CHARACTERS
    assert line_end == "-" or all(piece.endswith("\n") for piece in found)
