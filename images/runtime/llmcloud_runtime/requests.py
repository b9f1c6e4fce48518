"""Which request bodies the engine takes, before a model sees them.

Pure. What the generation below cannot do is refused in a sentence; fields that change nothing
for a client (`user`, `stream_options`, ...) pass. OpenAI's names, types and bounds hold.
"""

from collections.abc import Mapping
from typing import Any

COMPLETION_TOKENS = 16
"""What a legacy completion generates if the client names no number (OpenAI's default)."""
STOP_STRINGS = 4
INPUTS = 2048
"""Texts of one request for embeddings (OpenAI's bound) or labels."""


class InvalidRequest(ValueError):
    """A body that is refused; `param` is the field to blame, if it is one."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def check_completion(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest unless this is a body for /v1/completions."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequest("prompt must be one string that is not empty.", "prompt")
    _check_shared(body)


def check_chat(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest unless this is a body for /v1/chat/completions."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages must be a list that is not empty.", "messages")
    if not all(_is_message(message) for message in messages):
        raise InvalidRequest(
            "Every message needs a role and a content that is text or a list of text parts.",
            "messages",
        )
    if not any(message["content"] for message in messages):
        raise InvalidRequest("The messages hold no text to go on from.", "messages")
    _check_integer(body, "max_completion_tokens", least=1)
    _check_shared(body)


def texts_of(body: Mapping[str, Any]) -> list[str]:
    """The inputs of a body for /v1/embeddings, /classify or /pooling. Raises InvalidRequest."""
    said = body.get("input")
    texts = [said] if isinstance(said, str) else said
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
        raise InvalidRequest(
            "input must be a text or a list of texts, none of them empty.", "input"
        )
    if not 1 <= len(texts) <= INPUTS:
        raise InvalidRequest(f"input must hold 1 to {INPUTS} texts.", "input")
    if body.get("dimensions") is not None:
        raise InvalidRequest("dimensions cannot be chosen: leave it out.", "dimensions")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise InvalidRequest("encoding_format must be float or base64.", "encoding_format")
    return list(texts)


def check_length(number: int, tokens: int, context_tokens: int) -> None:
    """Raise InvalidRequest if input `number` is longer than the model's context."""
    if tokens > context_tokens:
        raise InvalidRequest(
            f"input {number} has {tokens} tokens and the model's context {context_tokens}; "
            f"shorten it.",
            "input",
        )


def tokens_to_generate(wanted: int | None, prompt_tokens: int, context_tokens: int) -> int:
    """How many tokens may follow the prompt: `wanted`, as far as the context reaches.

    Raises InvalidRequest if the prompt leaves no room.
    """
    room = context_tokens - prompt_tokens
    if room < 1:
        raise InvalidRequest(
            f"The prompt has {prompt_tokens} tokens and the model's context {context_tokens}, "
            f"which must also hold the answer; shorten the prompt."
        )
    return room if wanted is None else min(wanted, room)


def _check_shared(body: Mapping[str, Any]) -> None:
    if body.get("generation_config") is not None:
        raise InvalidRequest("generation_config is not accepted.", "generation_config")
    if body.get("n") not in (None, 1):
        raise InvalidRequest("n must be 1.", "n")
    _check_integer(body, "max_tokens", least=1)
    _check_integer(body, "seed", least=None)
    _check_number(body, "temperature", 0.0, 2.0)
    _check_number(body, "frequency_penalty", -0.9, 2.0)
    _check_number(body, "top_p", 0.0, 1.0)
    if body.get("top_p") == 0:
        raise InvalidRequest("top_p must be above 0.", "top_p")
    if not isinstance(body.get("stream") or False, bool):
        raise InvalidRequest("stream must be true or false.", "stream")
    _check_stop(body.get("stop"))


def _check_stop(stop: Any) -> None:
    strings = [stop] if isinstance(stop, str) else stop
    if strings is None:
        return
    if not isinstance(strings, list) or not 1 <= len(strings) <= STOP_STRINGS:
        raise InvalidRequest(f"stop must be a string or 1 to {STOP_STRINGS} strings.", "stop")
    if not all(isinstance(string, str) and string for string in strings):
        raise InvalidRequest("stop must hold strings that are not empty.", "stop")


def _check_integer(body: Mapping[str, Any], name: str, least: int | None) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name} must be an integer.", name)
    if least is not None and value < least:
        raise InvalidRequest(f"{name} must be at least {least}.", name)


def _check_number(body: Mapping[str, Any], name: str, least: float, most: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{name} must be a number.", name)
    if not least <= value <= most:
        raise InvalidRequest(f"{name} must be between {least} and {most}.", name)


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    if isinstance(content, list):
        return all(
            isinstance(part, dict)
            and part.get("type") == "text"
            and isinstance(part.get("text"), str)
            for part in content
        )
    return isinstance(content, str)
