"""Requests to an engine in the same pod."""

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any, Final

from llmcloud.api.contract import ENGINE_PORT

ENGINE_URL: Final = f"http://127.0.0.1:{ENGINE_PORT}"
ANSWER_BYTES: Final = 1024 * 1024
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy of the environment is for what lies outside of the pod."""


class Late(OSError):
    """Connected, but no answer in time: busy, not gone."""


def ask(url: str, timeout_seconds: float, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """Status and the first `ANSWER_BYTES` of a GET, or of a POST with a JSON body.

    Raises Late without an answer in time, another OSError if nobody is there.
    """
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with _DIRECT.open(request, timeout=timeout_seconds) as response:
            return int(response.status), response.read(ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(ANSWER_BYTES)
    except TimeoutError as error:
        raise Late(str(error)) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise Late(str(error)) from None
        raise


def status_of(url: str, timeout_seconds: float, body: dict[str, Any] | None = None) -> int | None:
    """The status alone; None without an answer."""
    try:
        return ask(url, timeout_seconds, body)[0]
    except OSError:
        return None


def probes(model: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Paths and bodies of the smallest requests, one of which every model answers."""
    messages = [{"role": "user", "content": "Hello"}]
    text = {"model": model, "input": "Hello"}
    return (
        ("/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 1}),
        ("/v1/completions", {"model": model, "prompt": "Hello", "max_tokens": 1}),
        ("/v1/embeddings", text),
        ("/classify", text),
        ("/pooling", text),
    )


def answers(base_url: str, model: str, timeout_seconds: float) -> bool:
    """Whether the engine answers one of the probes: a real generation, embedding or label."""
    return any(
        status_of(base_url + path, timeout_seconds, body) == HTTPStatus.OK
        for path, body in probes(model)
    )
