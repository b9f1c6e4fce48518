"""Requests that wait for a replica: until one comes, the deadline passes or the client leaves."""

import asyncio
import re
import time

from tests.gateway.client import CHAT, chat, connect, post, request
from tests.gateway.conftest import StartEngine, StartGateway, eventually, route


async def test_a_request_without_a_replica_shows_as_waiting_and_is_released_by_the_first(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route())
    asked = asyncio.create_task(post(gateway.port, CHAT, chat()))
    await eventually(lambda: [live.waiting for live in gateway.routes] == [1])
    sample = await gateway.sample()
    assert (sample.in_flight, sample.waiting, sample.arrivals) == (0, 1, 1)
    assert sample.idle_seconds == 0
    engine = await start_engine()
    gateway.serve(route(engine))
    assert (await asked).status == 200
    assert (await gateway.sample()).waiting == 0
    assert await gateway.metric("queue_seconds_count", deployment="wiki") == 1


async def test_requests_are_released_in_the_order_of_their_arrival(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route())
    asked = []
    for number in range(5):
        asked.append(asyncio.create_task(post(gateway.port, CHAT, chat(content=str(number)))))
        await eventually(lambda: [live.waiting for live in gateway.routes] == [len(asked)])
    engine = await start_engine()
    gateway.serve(route(engine, in_flight_per_replica=1))
    assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
    assert [asked.body for asked in engine.asked] == [chat(content=str(n)) for n in range(5)]
    assert engine.most_answering == 1


async def test_a_held_stream_hears_comments_and_then_its_answer(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(), comment_seconds=0.05)
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat(stream=True)))
        head = await client.head()
        assert head.status == 200
        assert head.headers["content-type"].startswith("text/event-stream")
        for _ in range(3):
            assert (await client.chunk()).startswith(b": waiting")
        gateway.serve(route(await start_engine()))
        body = b"".join(await client.chunks())
    assert body.count(b"data: {") == 4
    assert b"HTTP/1.1" not in body


async def test_a_held_stream_hears_its_place_and_when_a_replica_is_expected(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    expected = int(time.time()) + 1000
    gateway = await start_gateway(route(replica_expected=expected), comment_seconds=0.05)
    async with connect(gateway.port) as one, connect(gateway.port) as two:
        for client in (one, two):
            client.send(request("POST", CHAT, chat(stream=True)))
            await client.head()
        comment = await two.chunk()
        told = re.fullmatch(rb": waiting for a replica, place 2 of 2, about (\d+) s\n\n", comment)
        assert told
        assert 0 < int(told[1]) <= 1000
        one.writer.transport.abort()
        gateway.serve(route())
        while b"place 1 of 1\n" not in await two.chunk():
            pass
        gateway.serve(route(await start_engine()))
        assert b"".join(await two.chunks()).count(b"data: {") == 4


async def test_a_held_stream_hears_an_engines_refusal_as_an_event(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(), comment_seconds=0.05)
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat(stream=True)))
        await client.head()
        await client.chunk()
        gateway.serve(route(await start_engine(fault="refusal")))
        body = b"".join(await client.chunks())
    assert b'"message": "no such field"' in body
    assert body.endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_waits_only_shortly_keeps_the_engines_own_status(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route())
    asked = asyncio.create_task(post(gateway.port, CHAT, chat(stream=True)))
    await eventually(lambda: [live.waiting for live in gateway.routes] == [1])
    gateway.serve(route(await start_engine(fault="refusal")))
    assert (await asked).status == 422


async def test_a_full_queue_refuses_with_the_time_to_come_back(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(route(hold_max_requests=2))
    async with connect(gateway.port) as one, connect(gateway.port) as two:
        one.send(request("POST", CHAT, chat()))
        two.send(request("POST", CHAT, chat()))
        await eventually(lambda: [live.waiting for live in gateway.routes] == [2])
        answer = await post(gateway.port, CHAT, chat())
        assert (answer.status, answer.headers["x-llmcloud-reason"]) == (503, "QueueFull")
        assert int(answer.headers["retry-after"]) > 0
        assert answer.error["type"] == "server_error"


async def test_the_deadline_ends_the_wait(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route(hold_deadline_seconds=1), comment_seconds=0.2)
    whole, stream = await asyncio.gather(
        post(gateway.port, CHAT, chat()), post(gateway.port, CHAT, chat(stream=True))
    )
    assert (whole.status, whole.headers["x-llmcloud-reason"]) == (503, "HoldDeadlineExceeded")
    assert int(whole.headers["retry-after"]) > 0
    assert stream.status == 200
    assert b"hold_deadline_exceeded" in stream.body
    assert await gateway.metric("requests_total", code="503") == 2


async def test_a_client_that_leaves_the_queue_frees_its_place(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route())
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat()))
        await eventually(lambda: [live.waiting for live in gateway.routes] == [1])
    await eventually(lambda: [live.waiting for live in gateway.routes] == [0])
    engine = await start_engine()
    gateway.serve(route(engine))
    assert (await post(gateway.port, CHAT, chat())).status == 200
    assert len(engine.asked) == 1


async def test_a_deleted_deployment_lets_its_waiting_requests_go(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(route())
    asked = asyncio.create_task(post(gateway.port, CHAT, chat()))
    await eventually(lambda: [live.waiting for live in gateway.routes] == [1])
    gateway.serve()
    assert (await asked).status == 404


async def test_a_request_waits_through_a_replica_that_is_gone(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gone = await start_engine("gone")
    await gone.stop()
    gateway = await start_gateway(route(gone))
    asked = asyncio.create_task(post(gateway.port, CHAT, chat()))
    await eventually(lambda: [live.waiting for live in gateway.routes] == [1])
    gateway.serve(route(gone, await start_engine("new")))
    assert (await asked).headers["openai-model"] == "new"


async def test_a_stream_outlives_its_replicas_place_in_the_table(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(1)
    old, new = await start_engine("old", permits=permits), await start_engine("new")
    gateway = await start_gateway(route(old))
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat(stream=True)))
        await client.head()
        await client.chunk()
        gateway.serve(route(new))
        assert (await post(gateway.port, CHAT, chat())).headers["openai-model"] == "new"
        permits.release()
        permits.release()
        rest = b"".join(await client.chunks())
    assert rest.count(b"data: {") == 3
    assert (await gateway.sample()).in_flight == 0
