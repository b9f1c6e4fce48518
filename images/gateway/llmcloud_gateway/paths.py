"""The allow-list of paths. Pure: from method and target to what is asked for, or an error."""

from enum import Enum, auto
from typing import NamedTuple
from urllib.parse import unquote

from llmcloud_gateway.errors import method_not_allowed, not_found


class Action(Enum):
    HEALTH = auto()
    LIST_MODELS = auto()
    GET_MODEL = auto()
    ASK_MODEL = auto()


class Match(NamedTuple):
    """`namespace` is None below /v1. `detail`: a model's id, or the path on the engine."""

    action: Action
    namespace: str | None
    detail: str = ""


GENERATING = frozenset({"/v1/chat/completions", "/v1/completions"})
_MODEL_PATHS = (*sorted(GENERATING), "/v1/embeddings", "/classify", "/pooling")
"""What engines are asked. Nothing else of theirs can be reached: some load models or stop them."""


def match(method: bytes, target: bytes) -> Match:
    """What a request asks for; GatewayError 404 or 405 if it is not on the list."""
    found = _COMMON.get((method, target))
    if found is not None:
        return found
    verb = method.decode("latin-1")
    path = target.decode("latin-1").partition("?")[0]
    matched = _match_path(path)
    expected = "POST" if matched.action is Action.ASK_MODEL else "GET"
    if verb != expected:
        raise method_not_allowed(verb, expected)
    return matched


def _match_path(path: str) -> Match:
    if path == "/healthz":
        return Match(Action.HEALTH, None)
    namespace = None
    below = path
    if path.startswith("/ns/"):
        namespace, slash, rest = path.removeprefix("/ns/").partition("/")
        below = slash + rest
    if namespace != "":
        if below in _MODEL_PATHS:
            return Match(Action.ASK_MODEL, namespace, below)
        if below == "/v1/models":
            return Match(Action.LIST_MODELS, namespace)
        model = below.removeprefix("/v1/models/")
        if model and model != below:
            return Match(Action.GET_MODEL, namespace, unquote(model))
    raise not_found(path)


_COMMON = {(b"POST", path.encode()): Match(Action.ASK_MODEL, None, path) for path in _MODEL_PATHS}
