"""The egress pod's program, before providers that check their dialect strictly."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llmcloud.api.external import EgressTask, External
from llmcloud.api.leases import DAY_SECONDS, day_of
from llmcloud_gateway.egress.budget import Budget, bounded_request
from llmcloud_gateway.egress.dialects import target
from llmcloud_gateway.egress.handler import Egress
from llmcloud_gateway.egress.provider import may_reach, networks
from llmcloud_gateway.errors import GatewayError
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.server import Server
from tests.contract.certificates import write_certificate
from tests.gateway.client import CHAT, Answer, chat, connect, post
from tests.gateway.conftest import eventually
from tests.gateway.providers import GRANTED, KEY, MODEL, WORDS, Google, Provider, listen

SECRET = {"name": "keys", "key": "openai"}
LOOPBACK = ("127.0.0.0/8",)
OPENAI = Provider("/v1/chat/completions", headers={"authorization": f"Bearer {KEY}"})


def external(provider: str = "openai", port: int = 0, **members: Any) -> External:
    url = {"url": f"https://127.0.0.1:{port}"} if port else {}
    known = {"provider": provider, "model": MODEL, "apiKeySecretRef": SECRET}
    return External.model_validate({**known, **url, **members})


class Pod:
    """An egress pod's program in this process, and what its Secret holds."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        self.key_file = folder / "key"
        self.key_file.write_text(KEY + "\n")
        self.state = folder / "tokens.json"
        self.leases = folder / "leases"
        self.tls = ssl.create_default_context(cafile=str(certificate))
        self.port = 0

    @asynccontextmanager
    async def serving(
        self, which: External, allowed: tuple[str, ...] = LOOPBACK
    ) -> AsyncIterator[None]:
        task = EgressTask(external=which, drain_seconds=1)
        if which.tokens_per_day is not None:
            lease(self.leases, which.tokens_per_day, which.tokens_per_day)
        budget = Budget(which.tokens_per_day, self.state, self.leases)
        egress = Egress(task, self.key_file, budget, self.tls, networks(allowed))
        server = Server(egress.handle, Limits())
        self.port = await server.start(0, "127.0.0.1")
        try:
            yield
        finally:
            await server.drain(0)
            egress.close()


def lease(file: Path, tokens: int, most: int, now: float | None = None) -> None:
    """What the operator leases to a pod today, as the kubelet shows it."""
    days = {day_of(time.time() if now is None else now): {"tokens": tokens, "most": most}}
    file.write_text(json.dumps({"days": days}))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def pod(tmp_path: Path, certificate: tuple[Path, Path]) -> Pod:
    return Pod(tmp_path, certificate[0])


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.fixture
def start(stack: AsyncExitStack, certificate: tuple[Path, Path]) -> Any:
    async def begin(provider: Any) -> Any:
        runner, provider.port = await listen(provider.handle, certificate)
        stack.push_async_callback(runner.cleanup)
        return provider

    return begin


def bounded(max_tokens: int) -> bytes:
    return json.dumps({**json.loads(chat()), "max_tokens": max_tokens}).encode()


def spoken(answer: Answer) -> str:
    if "event-stream" not in answer.headers["content-type"]:
        return str(answer.json["choices"][0]["message"]["content"])
    events = [line for line in answer.body.split(b"\n\n") if line.startswith(b"data: {")]
    choices = [json.loads(event[6:])["choices"] for event in events]
    return " ".join(c[0]["delta"]["content"] for c in choices if c)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_openai_gets_a_bearer_key(pod: Pod, start: Any, stream: bool) -> None:
    provider = await start(Provider("/v1/chat/completions", headers=OPENAI.headers))
    async with pod.serving(
        external(port=provider.port, url=f"https://127.0.0.1:{provider.port}/v1")
    ):
        answer = await post(pod.port, CHAT, chat(stream=stream))
    assert (answer.status, spoken(answer)) == (200, " ".join(WORDS))
    assert provider.asked[0]["messages"] == json.loads(chat())["messages"]


async def test_azure_gets_its_key_its_version_and_the_deployments_path(
    pod: Pod, start: Any
) -> None:
    path = f"/openai/deployments/{MODEL}/chat/completions"
    provider = await start(
        Provider(path, {"api-version": "2024-10-21"}, {"api-key": KEY}, ("authorization",))
    )
    async with pod.serving(external("azure-openai", provider.port, apiVersion="2024-10-21")):
        assert (await post(pod.port, CHAT, chat())).status == 200


async def test_vertex_gets_access_tokens_which_are_used_until_they_end(
    pod: Pod, start: Any
) -> None:
    google = await start(Google())
    pod.key_file.write_text(google.key_file())
    path = "/v1/projects/p1/locations/europe-west4/endpoints/openapi/chat/completions"
    provider = await start(Provider(path, headers={"authorization": f"Bearer {GRANTED}"}))
    where = {"project": "p1", "location": "europe-west4"}
    async with pod.serving(external("vertex-ai", provider.port, **where)):
        answers = await asyncio.gather(*(post(pod.port, CHAT, chat()) for _ in range(8)))
        assert [answer.status for answer in answers] == [200] * 8
        assert google.given == 1
        provider.headers = {"authorization": "Bearer another"}
        refused = await post(pod.port, CHAT, chat())
        assert refused.headers["x-llmcloud-reason"] == "ProviderRefusedKey"
        provider.headers = {"authorization": f"Bearer {GRANTED}"}
        assert (await post(pod.port, CHAT, chat())).status == 200
        assert google.given == 2
    google.seconds = 60
    async with pod.serving(external("vertex-ai", provider.port, **where)):
        for _ in range(2):
            assert (await post(pod.port, CHAT, chat())).status == 200
    assert google.given == 4


@pytest.mark.parametrize(
    "key", ["", "not JSON", '{"private_key": "-----BEGIN PRIVATE"}', "[]"], ids=str
)
async def test_a_key_file_that_is_none_is_told_without_quoting_it(
    pod: Pod, start: Any, key: str
) -> None:
    pod.key_file.write_text(key)
    async with pod.serving(external("vertex-ai", 9, project="p", location="global")):
        answer = await post(pod.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (502, "ProviderRefusedKey")
    assert b"BEGIN" not in answer.body


async def test_a_compatible_server_may_need_no_key(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/llm/v1/chat/completions", foreign=("authorization",)))
    url = f"https://127.0.0.1:{provider.port}/llm/v1/"
    async with pod.serving(external("compatible", url=url, apiKeySecretRef=None)):
        assert (await post(pod.port, CHAT, chat())).status == 200


async def test_a_new_key_is_used_without_a_restart(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/chat/completions", headers=OPENAI.headers))
    async with pod.serving(external("compatible", provider.port)):
        assert (await post(pod.port, CHAT, chat())).status == 200
        pod.key_file.write_text("another")
        provider.headers = {"authorization": "Bearer another"}
        assert (await post(pod.port, CHAT, chat())).status == 200
    assert len(provider.connections) == 1, "connections are used again"


async def test_a_refused_key_is_the_gateways_failure_and_not_shown(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/chat/completions", headers={"authorization": "Bearer other"}))
    async with pod.serving(external("compatible", provider.port)):
        answer = await post(pod.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (502, "ProviderRefusedKey")
    assert KEY.encode() not in answer.body


async def test_other_refusals_are_passed_on(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/chat/completions", status=429))
    async with pod.serving(external("compatible", provider.port)):
        answer = await post(pod.port, CHAT, chat())
        assert (answer.status, answer.headers["retry-after"]) == (429, "7")
        assert answer.error["message"] == "not now"
        strange = await post(pod.port, "/v1/models", chat())
        assert strange.status == 404


async def test_a_provider_that_is_away_is_told(pod: Pod) -> None:
    async with pod.serving(external("compatible", 9)):
        answer = await post(pod.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (502, "ProviderUnreachable")


async def test_a_provider_whose_certificate_is_not_trusted_gets_no_key(
    pod: Pod, start: Any
) -> None:
    provider = await start(Provider("/chat/completions"))
    pod.tls = ssl.create_default_context()
    async with pod.serving(external("compatible", provider.port)):
        answer = await post(pod.port, CHAT, chat())
    assert (answer.status, provider.asked) == (502, [])


async def test_loopback_is_not_reached_unless_it_is_allowed(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/chat/completions"))
    async with pod.serving(external("compatible", provider.port), allowed=()):
        answer = await post(pod.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (502, "AddressForbidden")
    assert provider.asked == []


@pytest.mark.parametrize(
    ("address", "allowed", "reached"),
    [
        ("8.8.8.8", (), True),
        ("2606:4700::1111", (), True),
        ("127.0.0.1", (), False),
        ("169.254.169.254", (), False),
        ("fe80::1%eth0", (), False),
        ("10.96.0.1", (), False),
        ("192.168.0.9", (), False),
        ("100.64.0.1", (), False),
        ("0.0.0.0", (), False),
        ("224.0.0.1", (), False),
        ("::1", (), False),
        ("fd00::1", (), False),
        ("::ffff:169.254.169.254", (), False),
        ("64:ff9b::a9fe:a9fe", (), False),
        ("64:ff9b::808:808", (), True),
        ("2002:a9fe:a9fe::", (), False),
        ("10.20.0.7", ("10.20.0.0/16",), True),
        ("::ffff:10.20.0.7", ("10.20.0.0/16",), True),
        ("10.21.0.7", ("10.20.0.0/16",), False),
    ],
)
def test_which_addresses_are_reached(address: str, allowed: tuple[str, ...], reached: bool) -> None:
    assert may_reach(address, networks(allowed)) is reached


@pytest.mark.parametrize(
    ("which", "host", "path"),
    [
        (external(), "api.openai.com", "/v1/chat/completions"),
        (
            external("vertex-ai", project="p", location="us-central1"),
            "us-central1-aiplatform.googleapis.com",
            "/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions",
        ),
        (
            external("vertex-ai", project="p", location="global"),
            "aiplatform.googleapis.com",
            "/v1/projects/p/locations/global/endpoints/openapi/chat/completions",
        ),
    ],
)
def test_where_providers_are(which: External, host: str, path: str) -> None:
    found = target(which, "/v1/chat/completions")
    assert (found.host, found.port, found.path) == (host, 443, path)


# tokensPerDay


async def test_a_hundred_at_once_overspend_nothing(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/chat/completions", permits=asyncio.Semaphore(0)))
    body = bounded(10)
    most = len(body) + 10
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
        assert json.loads(pod.state.read_text())["spent"] == 20 * 8
        assert (await post(pod.port, CHAT, body)).status == 200


async def test_who_leaves_or_is_not_counted_is_charged_the_most(pod: Pod, start: Any) -> None:
    provider = await start(Provider("/chat/completions", usage=False))
    body = bounded(10)
    async with pod.serving(external("compatible", provider.port, tokensPerDay=10_000)):
        await post(pod.port, CHAT, body)
        assert json.loads(pod.state.read_text())["spent"] == len(body) + 10
        provider.permits = asyncio.Semaphore(0)
        async with connect(pod.port) as client:
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            client.send(head.encode() + body)
            await eventually(lambda: len(provider.asked) == 2)
        await eventually(lambda: json.loads(pod.state.read_text())["spent"] == 2 * (len(body) + 10))


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


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({"max_tokens": 5}, 105),
        ({"max_completion_tokens": 5, "n": 3}, 115),
        ({"max_tokens": 5, "max_completion_tokens": 9}, 109),
        ({"max_tokens": -5}, 100),
        ({}, 100 + 4096),
        ({"max_tokens": "5"}, 100 + 4096),
    ],
)
def test_the_most_that_a_request_may_take(body: dict[str, Any], most: int) -> None:
    asked, tokens = bounded_request(body, 100, newer=False)
    assert tokens == most
    assert any(isinstance(asked.get(name), int) for name in ("max_tokens", "max_completion_tokens"))
