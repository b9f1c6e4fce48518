"""The egress pod's program, before providers that check their dialect strictly."""

import asyncio
import json
import ssl
from typing import Any

import pytest

from llmcloud.api.external import External
from llmcloud_gateway.egress.dialects import target
from llmcloud_gateway.egress.provider import may_reach, networks
from tests.gateway.client import CHAT, chat, post
from tests.gateway.egress_pod import OPENAI, Pod, external, spoken
from tests.gateway.providers import GRANTED, KEY, MODEL, WORDS, Google, Provider


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
