"""tokensPerDay of external models: bounded before, settled after, leased by the operator."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from llmcloud.api.external import External
from llmcloud.api.leases import DAY_SECONDS, day_of
from llmcloud_gateway.egress.budget import Budget
from llmcloud_gateway.egress.outgoing import outgoing
from llmcloud_gateway.errors import GatewayError
from llmcloud_gateway.wanted import MEDIA_TOKENS, TEMPLATE_TOKENS
from tests.gateway.client import CHAT, chat, connect, post
from tests.gateway.conftest import eventually
from tests.gateway.egress_pod import (
    LOOPBACK,
    OPENAI,
    Pod,
    bounded,
    external,
    lease,
    spent,
    spoken,
)  # fmt: skip
from tests.gateway.providers import KEY, MODEL, WORDS, Provider


async def test_a_hundred_at_once_overspend_nothing(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/chat/completions", permits=asyncio.Semaphore(0)))
    body = bounded(10)
    most = len(body) + TEMPLATE_TOKENS + 10
    budget = 20 * most + 5
    async with pod.serving(external("compatible", provider.port, tokensPerDay=budget)):
        asked = [asyncio.ensure_future(post(pod.port, CHAT, body)) for _ in range(100)]
        await eventually(lambda: sum(one.done() for one in asked) == 80, 30)
        await eventually(lambda: len(provider.asked) == 20)
        for _ in range(100):
            provider.permits.release()
        answers = await asyncio.gather(*asked)
        assert sorted(a.status for a in answers) == [200] * 20 + [429] * 80
        refused = next(a for a in answers if a.status == 429)
        assert refused.headers["x-llmcloud-reason"] == "TokensPerDaySpent"
        assert 0 < int(refused.headers["retry-after"]) <= DAY_SECONDS + 1
        # 5 + 3 tokens each were taken, the rest is free again.
        assert spent(pod) == 20 * 8
        assert (await post(pod.port, CHAT, body)).status == 200


async def test_who_leaves_or_is_not_counted_is_charged_the_most(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/chat/completions", usage=False))
    body = bounded(10)
    most = len(body) + TEMPLATE_TOKENS + 10
    async with pod.serving(external("compatible", provider.port, tokensPerDay=10_000)):
        await post(pod.port, CHAT, body)
        assert spent(pod) == most
        provider.permits = asyncio.Semaphore(0)
        async with connect(pod.port) as client:
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            client.send(head.encode() + body)
            await eventually(lambda: len(provider.asked) == 2)
        await eventually(lambda: spent(pod) == 2 * most)


async def test_a_streams_usage_is_asked_for_and_hidden_from_who_did_not(
    pod: Pod, start: Any
) -> None:
    provider = await start(Provider("/chat/completions"))
    said = {**json.loads(chat(stream=True)), "max_tokens": 400}
    shown = {**said, "stream_options": {"include_usage": True}}
    async with pod.serving(external("compatible", provider.port, tokensPerDay=10_000)):
        answer = await post(pod.port, CHAT, json.dumps(said).encode())
        assert (answer.status, spoken(answer)) == (200, " ".join(WORDS))
        assert b"usage" not in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert spent(pod) == 8
        answer = await post(pod.port, CHAT, json.dumps(shown).encode())
        assert b'"completion_tokens": 3' in answer.body
        assert spent(pod) == 16
    async with pod.serving(external("compatible", provider.port)):
        await post(pod.port, CHAT, json.dumps(said).encode())
    assert "stream_options" not in provider.asked[-1]


@pytest.mark.parametrize(
    ("allowed", "key", "reason"),
    [
        (LOOPBACK, KEY, "ProviderUnreachable"),
        ((), KEY, "AddressForbidden"),
        (LOOPBACK, "", "ProviderRefusedKey"),
    ],
)
async def test_a_request_that_no_provider_got_costs_nothing(
    pod: Pod, allowed: tuple[str, ...], key: str, reason: str
) -> None:
    pod.key_file.write_text(key)
    async with pod.serving(external("compatible", 9, tokensPerDay=1000), allowed):
        for _ in range(3):
            answer = await post(pod.port, CHAT, bounded(400))
            assert (answer.status, answer.headers["x-llmcloud-reason"]) == (502, reason)
    assert spent(pod) == 0


async def test_a_killed_container_has_spent_what_was_in_flight(tmp_path: Path) -> None:
    file, leases = tmp_path / "tokens.json", tmp_path / "leases"
    now = 5 * DAY_SECONDS + 10.0
    lease(leases, 100, 100, now)
    killed = Budget(100, file, leases, lambda: now)
    killed.settle(await killed.reserve(50), 50, 20)
    await killed.reserve(30)
    again = Budget(100, file, leases, lambda: now)
    with pytest.raises(GatewayError):
        await again.reserve(51)
    day = await again.reserve(50)
    now += DAY_SECONDS
    lease(leases, 100, 100, now)
    assert await again.reserve(100) == day_of(now) != day
    again.settle(day, 50, 50)
    with pytest.raises(GatewayError):
        await again.reserve(1)


@pytest.mark.parametrize("text", ["", '{"day": "2026', "[]", '{"day": "x"}'])
async def test_a_count_that_is_cut_short_counts_as_all_that_was_leased(
    tmp_path: Path, text: str
) -> None:
    file, leases, now = tmp_path / "tokens.json", tmp_path / "leases", time.time()
    file.write_text(text)
    lease(leases, 60, 100, now)
    budget = Budget(100, file, leases, lambda: now)
    with pytest.raises(GatewayError, match="40 of 100 tokens are left"):
        await budget.reserve(41)
    lease(leases, 80, 100, now)
    await budget.reserve(20)
    assert json.loads(file.read_text())["spent"] == 80


async def test_no_pod_spends_more_than_is_leased_to_it(tmp_path: Path) -> None:
    leases, now = tmp_path / "leases", time.time()
    budget = Budget(1000, tmp_path / "tokens.json", leases, lambda: now, lease_seconds=0.2)
    with pytest.raises(GatewayError, match="has not leased"):  # nor anything yet
        await budget.reserve(1)
    lease(leases, 100, 700, now)
    await budget.reserve(60)
    with pytest.raises(GatewayError, match="has not leased") as late:
        await budget.reserve(41)
    assert late.value.status == 503
    with pytest.raises(GatewayError, match="640 of 1000 tokens are left") as spent:
        await budget.reserve(641)  # others have been leased the rest
    assert spent.value.status == 429
    await budget.reserve(40)


async def test_a_request_waits_for_a_lease_and_the_operator_hears_of_it(tmp_path: Path) -> None:
    leases, now = tmp_path / "leases", time.time()
    budget = Budget(1000, tmp_path / "tokens.json", leases, lambda: now, lease_seconds=60)
    (window,) = budget.sample().windows
    assert (window.window, window.tokens, window.wanted_tokens) == (day_of(now), 0, 0)
    waiting = [asyncio.ensure_future(budget.reserve(tokens)) for tokens in (30, 5)]
    await eventually(lambda: budget.sample().windows[0].wanted_tokens == 35)
    lease(leases, 40, 1000, now)
    await asyncio.gather(*waiting)
    (window,) = budget.sample().windows
    assert (window.tokens, window.wanted_tokens) == (35, 0)


AZURE = external("azure-openai", 9, apiVersion="2024-10-21", tokensPerDay=9)
OLD_AZURE = external("azure-openai", 9, apiVersion="2024-06-01", tokensPerDay=9)
OPENAI_BUDGET = external(tokensPerDay=9)
COMPATIBLE = external("compatible", 9, tokensPerDay=9)
TEXT = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"


def going_out(which: External, path: str, said: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """What is asked beside what was said, and how many tokens beside the body's are reserved."""
    body = json.dumps({"model": "wiki", **said}).encode()
    asked = outgoing(which, path, body)
    members = json.loads(asked.body)
    assert members.pop("model") == MODEL
    return members, asked.most_tokens - len(body) - TEMPLATE_TOKENS


@pytest.mark.parametrize(
    ("path", "said", "most"),
    [
        (CHAT, {"max_tokens": 5}, 5),
        (CHAT, {"max_completion_tokens": 5, "n": 3}, 15),
        (CHAT, {}, 4096),
        (TEXT, {"prompt": ["a", "b"], "max_tokens": 5}, 10),
        (TEXT, {"prompt": "a", "max_tokens": 5, "n": 2, "best_of": 7}, 35),
        (TEXT, {"prompt": "a"}, 4096),
        (EMBEDDINGS, {"input": "a"}, 0),
    ],
)
def test_the_most_that_a_request_may_take(path: str, said: dict[str, Any], most: int) -> None:
    assert going_out(COMPATIBLE, path, said)[1] == most


def test_an_image_by_its_address_may_take_many_tokens() -> None:
    url = "https://example.com/a.png"
    content = [{"type": "image_url", "image_url": {"url": url}}]
    said = {"messages": [{"role": "user", "content": content}], "max_tokens": 5}
    assert going_out(COMPATIBLE, CHAT, said)[1] == MEDIA_TOKENS + 5 - len(url)


@pytest.mark.parametrize(
    ("which", "path", "said", "added"),
    [
        (OPENAI_BUDGET, CHAT, {}, {"max_completion_tokens": 4096}),
        (OPENAI_BUDGET, CHAT, {"max_tokens": None}, {"max_completion_tokens": 4096}),
        (external(), CHAT, {"max_tokens": 5}, {"max_completion_tokens": 5}),
        (external(), CHAT, {}, {}),
        (AZURE, CHAT, {"max_tokens": 5}, {"max_completion_tokens": 5}),
        (OLD_AZURE, CHAT, {"max_tokens": 5}, {"max_tokens": 5}),
        (COMPATIBLE, CHAT, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        (COMPATIBLE, CHAT, {}, {"max_tokens": 4096}),
        (OLD_AZURE, CHAT, {"max_tokens": 5, "stream": True}, {"max_tokens": 5, "stream": True}),
        (OLD_AZURE, TEXT, {"stream_options": {}}, {"max_tokens": 16}),
        (OPENAI_BUDGET, TEXT, {}, {"max_tokens": 16}),
        (OPENAI_BUDGET, TEXT, {"max_tokens": 5}, {"max_tokens": 5}),
        (OPENAI_BUDGET, EMBEDDINGS, {}, {}),
    ],
)
def test_the_bound_has_the_name_that_the_provider_knows(
    which: External, path: str, said: dict[str, Any], added: dict[str, Any]
) -> None:
    assert going_out(which, path, said)[0] == added


@pytest.mark.parametrize("path", [TEXT, EMBEDDINGS])
@pytest.mark.parametrize("provider", ["openai", "azure-openai", "compatible"])
async def test_completions_and_embeddings_keep_within_a_budget_too(
    pod: Pod, start: Any, provider: str, path: str
) -> None:
    azure = provider == "azure-openai"
    below = f"/openai/deployments/{MODEL}" if azure else ""
    key = {"api-key": KEY} if azure else {"authorization": f"Bearer {KEY}"}
    version = {"api-version": "2024-10-21"} if azure else {}
    served = await start(Provider(below + path.removeprefix("/v1"), version, key))
    members = {"apiVersion": "2024-10-21"} if azure else {}
    which = external(provider, served.port, tokensPerDay=10_000, **members)
    said = json.dumps({"model": "wiki", "input" if path == EMBEDDINGS else "prompt": "hello"})
    async with pod.serving(which):
        answer = await post(pod.port, path, said.encode())
        assert answer.status == 200, answer.body
    if path == EMBEDDINGS:
        assert answer.json["data"][0]["embedding"] == [0.5]
        assert spent(pod) == 5
    else:
        assert answer.json["choices"][0]["text"] == " ".join(WORDS)
        assert spent(pod) == 8


async def test_a_model_that_reasons_gets_the_bound_of_a_keys_limits(pod: Pod, start: Any) -> None:
    provider = await start(
        Provider("/chat/completions", headers=OPENAI.headers, unknown=("max_tokens",))
    )
    async with pod.serving(external(port=provider.port)):
        assert (await post(pod.port, CHAT, bounded(7))).status == 200
    assert provider.asked[0]["max_completion_tokens"] == 7
