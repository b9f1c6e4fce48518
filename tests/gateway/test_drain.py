"""A gateway that goes loses no request of a client that keeps its connections."""

import asyncio

from tests.gateway.client import CHAT, chat, connect, request
from tests.gateway.conftest import StartEngine, StartGateway, eventually, route

LONG = 60.0


async def test_requests_on_kept_connections_are_answered_and_told_to_send_no_more(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(1)
    gateway = await start_gateway(
        route(await start_engine(permits=permits)), drain_idle_seconds=LONG
    )
    async with connect(gateway.port) as idle, connect(gateway.port) as streaming:
        await idle.ask("GET", "/healthz")
        streaming.send(request("POST", CHAT, chat(stream=True)))
        await streaming.head()
        await streaming.chunk()
        drain = asyncio.create_task(gateway.clients.drain(LONG))
        await asyncio.sleep(0)
        for _ in range(3):
            permits.release()
        assert b"".join(await streaming.chunks()).count(b"data: {") == 3
        for client in (idle, streaming):
            assert not drain.done()
            answer = await client.ask("GET", "/v1/models")
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await client.closed()
        await drain


async def test_a_request_that_is_not_answered_yet_is_told_at_once(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engine = await start_engine(permits=permits)
    gateway = await start_gateway(route(engine), drain_idle_seconds=LONG)
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat()))
        await eventually(lambda: engine.answering == 1, 60)
        drain = asyncio.create_task(gateway.clients.drain(LONG))
        await asyncio.sleep(0)
        permits.release()
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.closed()
        await drain


async def test_a_kept_connection_that_stays_silent_is_closed_after_a_while(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(route(), header_seconds=0.2, drain_idle_seconds=0.1)
    async with connect(gateway.port) as client:
        await client.ask("GET", "/healthz")
        drain = asyncio.create_task(gateway.clients.drain(LONG))
        assert await client.closed()
        await drain
