"""OpenAI's own clients for Python and Node, unchanged."""

import asyncio

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.gateway.conftest import StartEngine, StartGateway, route
from tests.support.node_client import use_node_client

MESSAGES = [ChatCompletionUserMessageParam(role="user", content="hello")]


async def test_the_asynchronous_client_works(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()))
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="unused"
    ) as client:
        assert [model.id async for model in client.models.list()] == ["wiki"]
        assert (await client.models.retrieve("wiki")).owned_by == "team-a"
        answer = await client.chat.completions.create(model="wiki", messages=MESSAGES)
        assert answer.choices[0].message.content == "one two three"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 10
        stream = await client.chat.completions.create(model="wiki", messages=MESSAGES, stream=True)
        words = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(words) == "one two three "
        text = await client.completions.create(model="wiki", prompt="hello")
        assert text.choices[0].text == "one two three"


async def test_the_synchronous_client_works(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()))

    def use() -> str:
        with (
            openai.OpenAI(
                base_url=f"http://127.0.0.1:{gateway.port}/ns/team-a/v1", api_key="unused"
            ) as client,
            client.chat.completions.create(model="wiki", messages=MESSAGES, stream=True) as stream,
        ):
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(use) == "one two three "


async def test_the_client_for_node_works(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()))
    for path in ("/v1", "/ns/team-a/v1"):
        url = f"http://127.0.0.1:{gateway.port}{path}"
        seen = await asyncio.to_thread(use_node_client, url, "wiki")
        assert "does not exist" in seen.pop("refused")
        assert seen == {
            "models": ["wiki"],
            "owner": "team-a",
            "chat": "one two three",
            "tokens": 3,
            "completion": "one two three",
            "streamed": ["one ", "two ", "three ", ""],
            "finished": "stop",
        }


async def test_the_client_understands_the_gateways_errors(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(
        route(await start_engine(fault="half")),
        route(name="closed", anonymous=False),
        route(name="cold", hold_deadline_seconds=1),
        comment_seconds=0.2,
    )
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="unused", max_retries=0
    ) as client:
        create = client.chat.completions.create
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await create(model="nothing", messages=[])
        with pytest.raises(openai.AuthenticationError, match="No such key is known"):
            await create(model="closed", messages=[])
        with pytest.raises(openai.InternalServerError, match="No replica of 'cold'"):
            await create(model="cold", messages=[])
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in await create(model="wiki", messages=[], stream=True):
                pass
        with pytest.raises(openai.APIError, match="No replica of 'cold'"):
            async for _ in await create(model="cold", messages=[], stream=True):
                pass
