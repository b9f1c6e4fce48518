"""How records become what a model reads, with a tokenizer of the data image."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from llmcloud.api.model import DATASET_TYPES
from llmcloud.cloud.errors import ConfigurationInvalid, DigestMismatch
from llmcloud_data import shards, tokens
from llmcloud_runtime.encoding import IGNORED, Encoder, encode_for
from llmcloud_runtime.records import Examples

TRAINED: Tokenizer = tokens.train("bpe", ["a b c def return self x y z 0 1 2"] * 9, 300)
END = tokens.end_of_text_id(TRAINED)
MASK = 299
SEED = (7, 3)


class Words:
    """The part of transformers' tokenizers that encoding uses, over the trained tokenizer."""

    bos_token_id = eos_token_id = END
    cls_token_id = sep_token_id = None
    mask_token_id = MASK

    def __len__(self) -> int:
        return 300

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        ids: list[int] = TRAINED.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool) -> str:
        return "".join(f"{message['role']}: {message['content']}\n" for message in messages)


def encoder(length: int = 64, **members: Any) -> Encoder:
    return Encoder(Words(), length, {"code": 0, "text": 1}, **members)


def test_every_task_has_an_encoding_for_each_of_its_types() -> None:
    for task, types in DATASET_TYPES.items():
        for type_ in types:
            assert callable(encode_for(task, type_, encoder()))


def test_a_dataset_for_another_task_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="cannot learn from a dataset of type tags"):
        encode_for("seq2seq", "tags", encoder())


def test_masking_hides_a_share_and_asks_for_what_it_hides() -> None:
    text = np.arange(4000) % 250
    masked = encoder().masked(text, SEED)
    asked = masked["labels"] != IGNORED
    assert (masked["labels"][asked] == text[asked]).all()
    assert (masked["input_ids"][~asked] == text[~asked]).all()
    assert asked.mean() == pytest.approx(0.15, abs=0.03)
    assert (masked["input_ids"][asked] == MASK).mean() == pytest.approx(0.8, abs=0.07)
    assert (masked["input_ids"][asked] == text[asked]).mean() == pytest.approx(0.1, abs=0.05)


def test_masking_is_the_same_for_the_same_place_in_the_run() -> None:
    text = np.arange(64)
    one, again, other = (encoder().masked(text, seed)["input_ids"] for seed in (SEED, SEED, (7, 4)))
    assert (one == again).all()
    assert (one != other).any()


def test_every_masked_sequence_asks_for_something() -> None:
    assert (encoder().masked(np.array([5]), SEED)["labels"] == [5]).all()


def test_of_a_conversation_the_assistants_words_are_learned() -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b c"},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y"},
    ]
    features = encoder().chat({"messages": messages}, SEED)
    learned = [label for label in features["labels"] if label != IGNORED]
    assert TRAINED.decode(learned) == "assistant: b c\nassistant: y\n"
    assert learned[-1] == END
    assert len(features["labels"]) == len(features["input_ids"])


def test_a_template_that_rewrites_what_was_said_is_refused() -> None:
    words = SimpleNamespace(
        encode=Words().encode,
        apply_chat_template=lambda messages, tokenize: f"{len(messages)} messages",
    )
    with pytest.raises(ConfigurationInvalid, match="chat template"):
        Encoder(words, 64, {}).chat({"messages": [{"role": "user", "content": "a"}] * 2}, SEED)


def test_of_a_chat_whose_question_is_too_long_the_answer_is_learned() -> None:
    asked = {"role": "user", "content": "a b c " * 40}
    answer = {"role": "assistant", "content": "x y z"}
    features = encoder().chat({"messages": [asked, answer]}, SEED)
    whole = encoder(1000).chat({"messages": [asked, answer]}, SEED)
    learned = [label for label in whole["labels"] if label != IGNORED]
    assert [label for label in features["labels"] if label != IGNORED] == learned
    assert features["labels"][0] == IGNORED
    assert len(features["input_ids"]) <= 64

    one_more = {"messages": [answer, asked, answer]}
    assert (
        encoder().chat(one_more, SEED)["input_ids"]
        == (encoder(1000).chat(one_more, SEED)["input_ids"][:64])
    )


def test_a_target_is_written_from_the_start_token_on() -> None:
    features = encoder(decoder_start=1).pair({"source": "a b", "target": "x y"}, SEED)
    assert features["input_ids"][-1] == END
    assert features["labels"][-1] == END
    assert features["decoder_input_ids"] == [1, *features["labels"][:-1]]


def test_a_word_is_labelled_by_its_first_piece() -> None:
    record = {"tokens": ["return", "qqq"], "tags": ["code", "text"]}
    features = encoder().tagged(record, SEED)
    pieces = len(TRAINED.encode(" qqq").ids)
    assert pieces > 1
    assert features["labels"] == [
        IGNORED,
        0,
        *[IGNORED] * (len(TRAINED.encode("return").ids) - 1),
        1,
        *[IGNORED] * (pieces - 1),
    ]


def test_long_texts_are_cut_to_the_models_length() -> None:
    features = encoder(8).labeled({"text": "a b " * 50, "label": "text"}, SEED)
    assert (len(features["input_ids"]), features["labels"]) == (8, 1)
    tagged = encoder(8).tagged({"tokens": ["a"] * 50, "tags": ["code"] * 50}, SEED)
    assert len(tagged["input_ids"]) == len(tagged["labels"]) == 8


@pytest.mark.parametrize("label", ["poetry", 2, -1])
def test_a_label_out_of_range_is_refused(label: str | int) -> None:
    with pytest.raises(ConfigurationInvalid, match="out of the range of the dataset's 2 labels"):
        encoder().labeled({"text": "a", "label": label}, SEED)


def test_as_many_tags_as_tokens() -> None:
    with pytest.raises(ConfigurationInvalid, match="2 tokens and 1 tags"):
        encoder().tagged({"tokens": ["a", "b"], "tags": ["code"]}, SEED)


class TestExamples:
    def test_examples_of_several_shards_are_one_list(self, tmp_path: Path) -> None:
        records = [{"text": f"line {number}\n"} for number in range(7)]
        lines = [json.dumps(record) for record in records]
        # Every shard holds two lines at most.
        written = shards.write_lines(lines, tmp_path, shard_bytes=2 * len(lines[0]) + 2)
        examples = Examples([(shard.file, shard.examples) for shard in written])
        assert len(list(tmp_path.iterdir())) == 4
        assert len(examples) == 7
        assert [examples[6], examples[0]] == [records[6], records[0]]
        assert list(examples) == records

    def test_no_shard_holds_no_example(self) -> None:
        assert len(Examples([])) == 0

    def test_a_shard_with_another_number_of_lines_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "0").write_text("{}\n")
        with pytest.raises(ValueError, match="1 lines"):
            Examples([(tmp_path / "0", 2)])

    def test_a_line_that_is_no_object_is_refused_when_it_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "0").write_text("[1]\n")
        with pytest.raises(DigestMismatch, match="Example 0 of shard 0"):
            Examples([(tmp_path / "0", 1)])[0]
