"""What the engine takes, and where a generation ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud_runtime.requests import (
    InvalidRequest,
    check_chat,
    check_completion,
    check_length,
    texts_of,
    tokens_to_generate,
)
from llmcloud_runtime.stopping import StopFilter, before_stop

USER = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_tokens": 1, "temperature": 0, "top_p": 1, "seed": -3, "n": 1, "user": "me"},
        {"stop": "\n"},
        {"stop": ["a", "b"], "stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_what_clients_send_is_taken(changes: dict[str, Any]) -> None:
    check_completion({"prompt": "x"} | changes)
    check_chat({"messages": USER} | changes)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 2}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stop": []}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"generation_config": "{}"}, "generation_config"),
    ],
)
def test_what_cannot_be_done_is_refused(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_completion({"prompt": "x"} | changes)
    assert refused.value.param == param
    with pytest.raises(InvalidRequest):
        check_chat({"messages": USER} | changes)


@pytest.mark.parametrize("prompt", [None, "", 3, ["a"], [1, 2]])
def test_a_prompt_is_one_string(prompt: Any) -> None:
    with pytest.raises(InvalidRequest, match="prompt"):
        check_completion({"prompt": prompt})


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "Hello",
        [{"content": "x"}],
        [{"role": "user"}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
    ],
)
def test_messages_are_texts(messages: Any) -> None:
    with pytest.raises(InvalidRequest):
        check_chat({"messages": messages})


def test_text_parts_are_texts() -> None:
    check_chat({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]})


@pytest.mark.parametrize(
    ("wanted", "prompt", "expected"), [(None, 10, 54), (5, 10, 5), (500, 10, 54), (1, 63, 1)]
)
def test_a_generation_ends_where_the_context_ends(
    wanted: int | None, prompt: int, expected: int
) -> None:
    assert tokens_to_generate(wanted, prompt, 64) == expected


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="64 tokens and the model's context 64"):
        tokens_to_generate(1, 64, 64)


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [("abc", [], "abc"), ("abc", ["b", "c"], "a"), ("abc", ["x"], "abc"), ("abc", ["a"], "")],
)
def test_text_ends_before_the_first_stop_string(text: str, stops: list[str], expected: str) -> None:
    assert before_stop(text, stops) == expected


@given(
    parts=st.lists(st.text("ab\n", max_size=4), max_size=12),
    stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=4),
)
def test_a_stream_ends_like_the_whole_text(parts: list[str], stops: list[str]) -> None:
    stream = StopFilter(stops)
    passed = "".join(stream.feed(part) for part in parts) + stream.end()
    whole = "".join(parts)
    assert whole.startswith(passed)
    assert before_stop(passed, stops) == passed
    if not any(stop in whole for stop in stops):
        assert passed == whole


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ({"input": "one"}, ["one"]),
        ({"input": ["one", "two"], "encoding_format": "base64"}, ["one", "two"]),
        ({"input": ["x"] * 2048, "encoding_format": "float"}, ["x"] * 2048),
    ],
)
def test_inputs_are_a_text_or_many(said: dict[str, Any], texts: list[str]) -> None:
    assert texts_of(said) == texts


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["one", ""]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "x", "dimensions": 8}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused(said: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        texts_of(said)
    assert refused.value.param == param


def test_an_input_longer_than_the_context_is_refused() -> None:
    check_length(0, 8, 8)
    with pytest.raises(InvalidRequest, match="input 1 has 9 tokens"):
        check_length(1, 9, 8)
