"""What a request's body asks for, as far as routing and limits need it; the engine judges the rest.

The cost of a request is bounded from above before any tokenizer has seen it: a token stands for at
least one byte of text, and the JSON around each message is longer than what chat templates add.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmcloud_gateway.errors import GatewayError, body_invalid

CHOICES = 128
"""OpenAI's bound on `n`."""
DEFAULT_MAX_TOKENS = 1024
"""Of a request that names none, where a budget of tokens must be kept."""
TEMPLATE_TOKENS = 256
"""For a chat template's own system prompt."""
MEDIA_TOKENS = 16384
"""For each image, sound or video; the most that common models make of an image."""
_MEDIA = ("image_url", "input_audio", "video_url", "audio_url", "image_embeds", "file")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`choices`: answers of up to `max_tokens` each, over all prompts of the request."""

    model: str
    stream: bool
    choices: int
    max_tokens: int | None
    wants_usage: bool
    said: dict[str, Any]

    @property
    def usage_options(self) -> dict[str, Any] | None:
        """The stream_options that ask for a stream's usage; None if it is no stream, or if the
        client asks already."""
        if not self.stream or self.wants_usage:
            return None
        options = self.said.get("stream_options")
        return {**(options if isinstance(options, dict) else {}), "include_usage": True}

    def prompt_tokens(self, body: bytes) -> int:
        """At least as many tokens as the engine can make of the prompts."""
        media = b"image" in body or b"audio" in body or b"video" in body or b"file" in body
        parts = list(_media(self.said.get("messages"))) if media else []
        if not parts:
            return len(body) + TEMPLATE_TOKENS
        carried = sum(_text_bytes(part.get(kind)) for part in parts for kind in _MEDIA)
        return max(0, len(body) - carried) + len(parts) * MEDIA_TOKENS + TEMPLATE_TOKENS


def read_wanted(body: bytes) -> Wanted:
    """GatewayError 400 naming the member that cannot be used."""
    try:
        said = json.loads(body)
    except RecursionError:
        raise body_invalid("it is nested too deep.") from None
    except ValueError as error:
        raise body_invalid(f"it is not JSON ({error}).") from None
    if not isinstance(said, dict):
        raise body_invalid("it is not a JSON object.")
    model = said.get("model")
    if not isinstance(model, str) or not model:
        raise body_invalid(
            '"model" must name the model to use; GET /v1/models lists them.', param="model"
        )
    options = said.get("stream_options")
    tokens = [_count(said, name, None) for name in ("max_tokens", "max_completion_tokens")]
    return Wanted(
        model=model,
        stream=said.get("stream") is True,
        choices=max(_count(said, name, CHOICES) or 1 for name in ("n", "best_of"))
        * _prompts(said.get("prompt")),
        max_tokens=max((number for number in tokens if number is not None), default=None),
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
        said=said,
    )


def _count(said: dict[str, Any], name: str, most: int | None) -> int | None:
    number = said.get(name)
    if number is None:
        return None
    if type(number) is not int or number < 1 or (most is not None and number > most):
        bound = "at least 1" if most is None else f"between 1 and {most}"
        raise GatewayError(
            400, "ValueOutOfRange", f'"{name}" must be a whole number of {bound}.', param=name
        )
    return number


def _prompts(prompt: object) -> int:
    """How many prompts a completion's `prompt` holds: texts, or lists of token numbers."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        return len(prompt)
    return 1


def _media(messages: object) -> Iterator[dict[str, Any]]:
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and any(kind in part for kind in _MEDIA):
                yield part


def _text_bytes(value: object) -> int:
    """Bytes of the strings in what carries media."""
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, dict):
        return sum(_text_bytes(member) for member in value.values())
    return 0


def with_members(body: bytes, **members: object) -> bytes:
    """The JSON object `body`, not empty, with members added; of two alike the last counts."""
    added = json.dumps(members)[1:-1].encode()
    return body.rstrip()[:-1] + b"," + added + b"}"
