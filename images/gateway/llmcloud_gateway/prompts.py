"""Prompts that deployments keep: what a client sends is put into them, literally.

`{input}` is the only thing that is replaced; braces of any other kind are text.
"""

import json
from typing import Any

from llmcloud.api.prompt import Prompt
from llmcloud_gateway.errors import GatewayError

_INPUT = "{input}"


def with_prompt(
    prompt: Prompt, said: dict[str, Any], model: str, path: str, most_bytes: int
) -> bytes:
    """The body for the engine: `said` with `prompt` around its last user message or its prompt.

    GatewayError 400 if there is nothing to put into it, 413 if it would take more than
    `most_bytes` in all its places.
    """
    if path == "/v1/chat/completions":
        asked: dict[str, Any] = {"messages": _messages(prompt, said.get("messages"), most_bytes)}
    elif path == "/v1/completions":
        asked = {"prompt": _text(prompt, said.get("prompt"), most_bytes)}
    else:
        raise _unusable(f"The prompt {prompt.name!r} is for chat and completions only.", "model")
    return json.dumps({**said, **asked, "model": model}).encode()


def _messages(prompt: Prompt, messages: object, most_bytes: int) -> list[Any]:
    said = list(messages) if isinstance(messages, list) else []
    users = [n for n, m in enumerate(said) if isinstance(m, dict) and m.get("role") == "user"]
    if not users:
        raise _unusable("A message of the role user must say the input.", "messages")
    last = users[-1]
    content = _content(prompt, said[last].get("content"), most_bytes)
    said[last] = {**said[last], "content": content}
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, *said]


def _content(prompt: Prompt, content: object, most_bytes: int) -> object:
    _check_size(prompt, content, most_bytes)
    if isinstance(content, str):
        return prompt.user.replace(_INPUT, content)
    if not isinstance(content, list):
        raise _unusable("The content of the last user message must be text or parts.", "messages")
    parts: list[Any] = []
    for number, text in enumerate(prompt.user.split(_INPUT)):
        parts += content if number else []
        parts += [{"type": "text", "text": text}] if text else []
    return parts


def _text(prompt: Prompt, text: object, most_bytes: int) -> str:
    if not isinstance(text, str):
        raise _unusable("prompt must be one text, which is the input.", "prompt")
    _check_size(prompt, text, most_bytes)
    system = f"{prompt.system}\n\n" if prompt.system else ""
    return system + prompt.user.replace(_INPUT, text)


def _check_size(prompt: Prompt, content: object, most_bytes: int) -> None:
    """One place needs no look: the input came in a body that was bounded."""
    places = prompt.user.count(_INPUT)
    if places > 1 and places * len(json.dumps(content)) > most_bytes:
        raise GatewayError(
            413,
            "BodyTooLarge",
            f"The prompt {prompt.name!r} repeats its input {places} times, which makes more than "
            f"{most_bytes} bytes of this one. Send a shorter input.",
        )


def _unusable(message: str, param: str) -> GatewayError:
    return GatewayError(400, "InputInvalid", message, param=param)
