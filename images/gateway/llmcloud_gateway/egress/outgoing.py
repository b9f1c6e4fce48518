"""What a provider is asked: a gateway's request in the provider's terms, its cost bounded. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from llmcloud.api.external import External
from llmcloud_gateway.paths import GENERATING
from llmcloud_gateway.wanted import Wanted, read_wanted

OUTPUT_TOKENS = 4096
"""Asked for where a request does not say how many it wants."""
COMPLETION_TOKENS = 16
"""What OpenAI makes of /v1/completions that do not say it; its models for them read only 4096."""
NEWER_AZURE = "2024-09-01"
"""The api-version, a date, since which Azure knows max_completion_tokens and stream_options."""


@dataclass(frozen=True)
class Outgoing:
    """`most_tokens`: what the request may take, 0 without a budget.

    `hides_usage`: the budget asks for a stream's usage, not the client.
    """

    body: bytes
    most_tokens: int = 0
    hides_usage: bool = False


def outgoing(external: External, path: str, body: bytes) -> Outgoing:
    """The body for `path` (one of dialects.PATHS). GatewayError 400 if it cannot be used."""
    wanted = read_wanted(body)
    asked = {**wanted.said, "model": external.model}
    most, hides_usage = 0, False
    if external.tokens_per_day is not None:
        most = wanted.prompt_tokens(body)
        if path in GENERATING:
            most += _bound_answer(external, path, wanted, asked) * wanted.choices
            options = wanted.usage_options
            if options is not None:
                asked["stream_options"], hides_usage = options, True
    if external.provider == "azure-openai" and not _is_newer(external):
        asked.pop("stream_options", None)
    if path == "/v1/chat/completions" and _is_newer(external):
        _rename_bound(asked)
    return Outgoing(json.dumps(asked).encode(), most, hides_usage)


def _bound_answer(external: External, path: str, wanted: Wanted, asked: dict[str, Any]) -> int:
    if wanted.max_tokens is None:
        short = path == "/v1/completions" and external.provider in ("openai", "azure-openai")
        asked["max_tokens"] = COMPLETION_TOKENS if short else OUTPUT_TOKENS
        return int(asked["max_tokens"])
    return wanted.max_tokens


def _is_newer(external: External) -> bool:
    if external.provider == "azure-openai":
        return (external.api_version or "") >= NEWER_AZURE
    return external.provider == "openai"


def _rename_bound(asked: dict[str, Any]) -> None:
    """Models that reason take no max_tokens; all others take either name."""
    if asked.get("max_tokens") is not None and asked.get("max_completion_tokens") is None:
        asked["max_completion_tokens"] = asked.pop("max_tokens")
