"""What the replicas cannot serve goes to the fallback, where the route says so."""

import asyncio
from typing import Any

import pytest

from llmcloud.api.contract import Route
from tests.gateway.client import CHAT, chat, connect, post
from tests.gateway.conftest import StartEngine, StartGateway, eventually, route
from tests.gateway.engine import Engine

ALL = ["coldStart", "overload", "failure"]
AWAY = "127.0.0.1:9"


def spilling(
    *engines: Engine | str, to: Engine, when: list[str] | None = None, **more: Any
) -> Route:
    return route(
        *engines, fallback_endpoints=[to.endpoint], fallback_when=ALL if when is None else when,
        **more,
    )  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_who_waited_in_vain_for_a_cold_start_is_answered_by_it(
    start_gateway: StartGateway, start_engine: StartEngine, stream: bool
) -> None:
    other = await start_engine("other")
    gateway = await start_gateway(
        spilling(to=other, when=["coldStart"], hold_deadline_seconds=1), comment_seconds=0.2
    )
    answer = await post(gateway.port, CHAT, chat(stream=stream))
    assert answer.status == 200
    assert b"other" in answer.body
    assert (b": waiting" in answer.body) is stream
    of = {"deployment": "wiki", "reason": "HoldDeadlineExceeded"}
    assert await gateway.metric("spilled_total", **of) == 1
    assert await gateway.metric("requests_total", code="200", deployment="wiki") == 1
    assert await gateway.metric("tokens_total", kind="output", deployment="wiki") == 3


async def test_a_replica_that_comes_in_time_is_preferred(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    own, other = await start_engine("own"), await start_engine("other")
    gateway = await start_gateway(spilling(to=other))
    asked = asyncio.ensure_future(post(gateway.port, CHAT, chat()))
    await eventually(lambda: [live.waiting for live in gateway.routes] == [1])
    gateway.serve(spilling(own, to=other))
    assert b"own" in (await asked).body
    assert other.asked == []


async def test_overload_spills_what_the_queue_does_not_take(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    own, other = await start_engine("own", permits=permits), await start_engine("other")
    gateway = await start_gateway(
        spilling(own, to=other, when=["overload"], in_flight_per_replica=1, hold_max_requests=0)
    )
    first = asyncio.ensure_future(post(gateway.port, CHAT, chat()))
    await eventually(lambda: own.answering == 1)
    assert b"other" in (await post(gateway.port, CHAT, chat())).body
    permits.release()
    assert b"own" in (await first).body
    assert (await gateway.sample()).in_flight == 0


@pytest.mark.parametrize("fault", ["reset", "failure", "away"])
async def test_failures_spill_with_the_whole_body(
    start_gateway: StartGateway, start_engine: StartEngine, fault: Any
) -> None:
    other = await start_engine("other")
    own = AWAY
    if fault != "away":
        own = (await start_engine("own", fault=fault)).endpoint
    gateway = await start_gateway(
        spilling(own, to=other, when=["failure"], hold_deadline_seconds=1)
    )
    body = chat(content="x" * 100_000)
    answer = await post(gateway.port, CHAT, body)
    assert answer.status == 200
    assert other.asked[0].body == body


@pytest.mark.parametrize(
    ("when", "own"), [(["overload", "failure"], []), (["coldStart", "overload"], [AWAY])], ids=str
)
async def test_what_is_not_named_does_not_spill(
    start_gateway: StartGateway, start_engine: StartEngine, when: list[str], own: list[str]
) -> None:
    other = await start_engine("other")
    gateway = await start_gateway(spilling(*own, to=other, when=when, hold_deadline_seconds=1))
    answer = await post(gateway.port, CHAT, chat())
    assert answer.status in (502, 503)
    assert other.asked == []


async def test_a_fallback_that_fails_leaves_the_first_reason(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    other = await start_engine("other")
    gateway = await start_gateway(spilling(to=other, hold_deadline_seconds=1))
    await other.stop()
    answer = await post(gateway.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (503, "HoldDeadlineExceeded")


async def test_requests_on_the_fallback_are_told_apart(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    other = await start_engine("other", permits=permits)
    gateway = await start_gateway(spilling(to=other, hold_deadline_seconds=1))
    asked = asyncio.create_task(post(gateway.port, CHAT, chat()))
    await eventually(lambda: other.answering == 1)
    assert await gateway.metric("fallback_in_flight", deployment="wiki") == 1
    assert await gateway.metric("in_flight", deployment="wiki") == 0
    assert (await gateway.sample()).in_flight == 0
    permits.release()
    assert (await asked).status == 200
    assert await gateway.metric("fallback_in_flight", deployment="wiki") == 0


async def test_a_broken_stream_is_not_begun_anew(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    own, other = await start_engine("own", fault="half"), await start_engine("other")
    gateway = await start_gateway(spilling(own, to=other))
    async with connect(gateway.port) as client:
        answer = await client.ask("POST", CHAT, chat(stream=True))
    assert b"EngineBroke" in answer.body or b"engine_broke" in answer.body
    events = answer.body.count(b"data: {") - 1
    assert 0 < events == await gateway.metric("tokens_total", kind="output", deployment="wiki")
    assert other.asked == []
