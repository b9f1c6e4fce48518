"""What models are asked beside chat, and names that are served from one deployment."""

import base64
import json
from typing import Any

import pytest

from llmcloud.api.prompt import Prompt
from tests.gateway.client import CHAT, Answer, get, post
from tests.gateway.conftest import RunningGateway, StartEngine, StartGateway, route
from tests.gateway.records import bearer, record

SUMMARIZE = Prompt(
    name="summarize", system="Be short. {x}", user='Say "{input}" in a word: {input}'
)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/classify", "/pooling"])
async def test_models_that_do_not_generate_are_asked_on_their_own_paths(
    start_gateway: StartGateway, start_engine: StartEngine, path: str
) -> None:
    engine = await start_engine()
    gateway = await start_gateway()
    limits = {"tokensPerMinute": 1000, "maxTokens": 5}
    gateway.serve(route(engine, anonymous=False), keys=[record(limits=limits)])
    body = b'{"model": "wiki", "input": ["one", "two"]}'
    answer = await post(gateway.port, path, body, **bearer())
    assert answer.status == 200
    assert (engine.asked[0].path, engine.asked[0].body) == (path, body)
    below = await post(gateway.port, "/ns/team-a" + path, body, **bearer())
    assert below.status == 200
    assert engine.asked[1].path == path
    (sample,) = gateway.keys.samples()
    assert sample.requests == 2
    assert sample.windows[0].tokens == sample.input_tokens + sample.output_tokens


async def test_images_go_to_the_engine_as_they_came(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway()
    key = record(limits={"tokensPerMinute": 20_000, "maxTokens": 100})
    gateway.serve(route(engine, anonymous=False), keys=[key])
    url = "data:image/png;base64," + base64.b64encode(bytes(200_000)).decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    content = [{"type": "text", "text": "What is it?"}, image]
    body = json.dumps({"model": "wiki", "messages": [{"role": "user", "content": content}]})
    said = body[:-1] + ', "max_tokens": 9}'
    assert (await post(gateway.port, CHAT, said.encode(), **bearer())).status == 200
    assert engine.asked[0].body == said.encode()
    two = json.loads(said)
    two["messages"][0]["content"].append(image)
    refused = await post(gateway.port, CHAT, json.dumps(two).encode(), **bearer())
    assert refused.headers["x-llmcloud-reason"] == "RequestExceedsBudget"


async def asked_with(
    gateway: RunningGateway, path: str, model: str = "wiki/summarize", **said: Any
) -> Answer:
    return await post(gateway.port, path, json.dumps({"model": model, **said}).encode())


async def test_a_prompt_is_put_around_what_the_client_sends(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine, prompts=[SUMMARIZE]))
    system = {"role": "system", "content": "Be short. {x}"}
    before = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    last = {"role": "user", "content": "a {input} b", "name": "me"}
    answer = await asked_with(gateway, CHAT, messages=[*before, last], seed=1)
    assert answer.status == 200
    put = {"role": "user", "content": 'Say "a {input} b" in a word: a {input} b', "name": "me"}
    assert json.loads(engine.asked[0].body) == {
        "model": "wiki",
        "messages": [system, *before, put],
        "seed": 1,
    }
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    await asked_with(gateway, CHAT, messages=[{"role": "user", "content": [image]}])
    (_, said) = json.loads(engine.asked[1].body)["messages"]
    texts = [part.get("text") for part in said["content"]]
    assert texts == ['Say "', None, '" in a word: ', None]
    await asked_with(gateway, "/v1/completions", prompt="x")
    prompt = json.loads(engine.asked[2].body)["prompt"]
    assert prompt == 'Be short. {x}\n\nSay "x" in a word: x'


@pytest.mark.parametrize(
    ("path", "said", "param"),
    [
        (CHAT, {}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [{"role": "system", "content": "x"}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": 7}]}, "messages"),
        ("/v1/completions", {"prompt": ["a", "b"]}, "prompt"),
        ("/v1/completions", {"prompt": [1, 2]}, "prompt"),
        ("/v1/embeddings", {"input": "x"}, "model"),
    ],
)
async def test_a_prompt_without_its_input_is_refused(
    start_gateway: StartGateway,
    start_engine: StartEngine,
    path: str,
    said: dict[str, Any],
    param: str,
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine, prompts=[SUMMARIZE]))
    answer = await asked_with(gateway, path, **said)
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (400, "InputInvalid")
    assert answer.error["param"] == param
    assert engine.asked == []


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_an_input_that_its_prompt_would_multiply_beyond_the_bound_is_refused(
    start_gateway: StartGateway, start_engine: StartEngine, path: str
) -> None:
    engine = await start_engine()
    once, often = Prompt(name="once"), Prompt(name="often", user="{input}" * 2000)
    gateway = await start_gateway(route(engine, prompts=[once, often]), body_bytes=100_000)
    for text, model, status in (
        ("x" * 45_000, "wiki/once", 200),
        ("x" * 48, "wiki/often", 200),
        ("x" * 49, "wiki/often", 413),
        ("\u00e9" * 20, "wiki/often", 413),
    ):
        said = {"messages": [{"role": "user", "content": text}], "prompt": text}
        answer = await asked_with(gateway, path, model, **said)
        assert answer.status == status
    assert answer.headers["x-llmcloud-reason"] == "BodyTooLarge"
    parts = [{"type": "text", "text": "x" * 48}]
    answer = await asked_with(
        gateway, CHAT, "wiki/often", messages=[{"role": "user", "content": parts}]
    )
    assert answer.status == 413
    assert len(engine.asked) == 2
    assert gateway.clients.buffers.bytes == 0


async def test_prompts_and_adapters_are_models_of_their_own(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine, prompts=[SUMMARIZE], adapters=["team-b"]))
    listed = (await get(gateway.port, "/v1/models")).json["data"]
    assert [card["id"] for card in listed] == ["wiki", "wiki:team-b", "wiki/summarize"]
    for path in ("/v1/models/wiki/summarize", "/ns/team-a/v1/models/wiki%3Ateam-b"):
        assert (await get(gateway.port, path)).json["owned_by"] == "team-a"
    messages = [{"role": "user", "content": "x"}]
    answer = await asked_with(gateway, CHAT, "wiki:team-b", messages=messages)
    assert answer.status == 200
    assert json.loads(engine.asked[0].body)["model"] == "wiki:team-b"
    assert (await asked_with(gateway, CHAT, "wiki:team-c", messages=messages)).status == 404
    assert (await gateway.sample()).arrivals == 1
