"""Hostile clients and broken engines: a correct error, bounded memory, no effect on others."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from tests.gateway.client import CHAT, Answer, chat, connect, get, post, request
from tests.gateway.conftest import (
    RunningGateway,
    StartEngine,
    StartGateway,
    eventually,
    route,
)
from tests.gateway.engine import Engine

MEGABYTE = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
EVENTS = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@asynccontextmanager
async def untouched(gateway: RunningGateway, engine: Engine) -> AsyncIterator[None]:
    """A stream of another model goes on before, during and after what happens inside."""
    assert engine.permits is not None
    async with connect(gateway.port) as client:
        engine.permits.release()
        client.send(request("POST", CHAT, chat("good", stream=True)))
        assert (await client.head()).status == 200
        await client.chunk()
        yield
        for _ in range(2):
            engine.permits.release()
        assert b"".join(await client.chunks()).count(b"data: {") == 3
    assert gateway.clients.buffers.bytes == 0


@pytest.fixture
async def good(start_engine: StartEngine) -> Engine:
    return await start_engine("good", permits=asyncio.Semaphore(0))


@pytest.fixture
async def start_raw(started: AsyncExitStack) -> Callable[[Script], Awaitable[str]]:
    """An engine that reads a request and then does what a script says."""

    async def start(script: Script) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await script(writer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        started.callback(server.close)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    return start


StartRaw = Callable[[Script], Awaitable[str]]


def says(*data: bytes) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        for part in data:
            writer.write(part)
            await writer.drain()

    return script


SMUGGLED = {
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "a list of lengths": b"content-length: 5, 5\r\n\r\nhello",
    "a length with a sign": b"content-length: +5\r\n\r\nhello",
    "length and chunks": b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "unknown coding": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "space before colon": b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded": b"x: a\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a nul": b"x: a\x00b\r\ncontent-length: 5\r\n\r\nhello",
    "a bare return": b"x: a\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare newlines": b"content-length: 5\n\nhello",
    "no name": b": a\r\ncontent-length: 5\r\n\r\nhello",
    "a chunk too long": b"transfer-encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
    "a chunk's length overflows": b"transfer-encoding: chunked\r\n\r\n10000000000000005\r\nhello",
}


@pytest.mark.parametrize("headers", SMUGGLED.values(), ids=SMUGGLED)
async def test_a_request_that_two_readers_might_read_differently_is_refused(
    start_gateway: StartGateway, start_engine: StartEngine, good: Engine, headers: bytes
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine), route(good, name="good"))
    async with untouched(gateway, good), connect(gateway.port) as client:
        client.send(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: a\r\n" + headers)
        client.send(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await client.answer()).status == 400
        assert await client.closed()
    assert engine.asked == []


async def test_nothing_of_a_clients_headers_reaches_an_engine(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine))
    headers = {
        "x_forwarded_for": "1.2.3.4",
        "connection": "x-request-id, host",
        "x_llmcloud_reason": "x",
        "x_data_parallel_rank": "3",
        "content_type": "text/plain",
        "te": "trailers",
        "cookie": "a",
    }
    assert (await post(gateway.port, CHAT, chat(), **headers)).status == 200
    names = {"host", "content-type", "content-length", "x-request-id"}
    assert set(engine.asked[0].headers) == names
    assert engine.asked[0].headers["content-type"] == "application/json"


async def test_what_follows_a_body_is_not_the_engines_next_request(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine))
    async with connect(gateway.port) as client:
        hidden = request("POST", "/reset", b"{}")
        client.send(request("POST", CHAT, chat()) + hidden)
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 404
    assert [asked.path for asked in engine.asked] == [CHAT]


async def test_a_prompt_of_ten_megabytes_is_refused_and_held_by_nobody(
    start_gateway: StartGateway, start_engine: StartEngine, good: Engine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine), route(good, name="good"))
    large = chat(content="x" * (10 * MEGABYTE))
    async with untouched(gateway, good):
        for answer in await asyncio.gather(*(post(gateway.port, CHAT, large) for _ in range(8))):
            assert (answer.status, answer.headers["x-llmcloud-reason"]) == (413, "BodyTooLarge")
    assert engine.asked == []


async def test_a_prompt_of_ten_megabytes_arrives_whole_where_it_may(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine), body_bytes=16 * MEGABYTE)
    large = chat(content="x" * (10 * MEGABYTE))
    assert (await post(gateway.port, CHAT, large)).status == 200
    assert engine.asked[0].body == large
    await eventually(lambda: gateway.clients.buffers.bytes == 0)


@pytest.mark.parametrize(
    ("members", "param"),
    [({"n": 1000}, "n"), ({"max_tokens": -5}, "max_tokens"), ({"n": 1e3}, "n")],
)
async def test_numbers_out_of_bounds_are_refused_without_a_key_too(
    start_gateway: StartGateway, start_engine: StartEngine, members: dict[str, float], param: str
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine))
    body = json.dumps({**json.loads(chat()), **members}).encode()
    answer = await post(gateway.port, CHAT, body)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert engine.asked == []


BROKEN = {
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n",),
    "half a head": (OK + b"content-type: text",),
    "endless headers": (OK, *[b"a: %s\r\n" % (b"b" * 1000)] * 100),
    "an endless header": (OK, *[b"a" * 1000] * 100),
    "length and chunks": (OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n",),
    "a flood of continue": (*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 5000,),
    "an upgrade": (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_speaks_garbage_is_a_bad_gateway(
    start_gateway: StartGateway, start_raw: StartRaw, good: Engine, said: list[bytes], stream: bool
) -> None:
    gateway = await start_gateway(
        route(await start_raw(says(*said))), route(good, name="good"), retries=0
    )
    async with untouched(gateway, good):
        answer = await post(gateway.port, CHAT, chat(stream=stream))
    assert answer.status == 502
    assert answer.headers["x-llmcloud-reason"] in ("EngineBroke", "EngineUnreachable")
    assert answer.error["type"] == "server_error"


HALF = {
    "in an event": (EVENTS + chunk(b'data: {"choices": [{"del'),),
    "in a chunk": (EVENTS + b"ffff\r\ndata: {",),
    "in a chunk's length": (EVENTS + chunk(b"data: {}\n\n") + b"ff",),
    "with a length that is none": (EVENTS + chunk(b"data: {}\n\n") + b"zz\r\n",),
}


@pytest.mark.parametrize("said", HALF.values(), ids=HALF)
async def test_a_stream_that_ends_in_the_middle_ends_with_an_error_that_clients_can_read(
    start_gateway: StartGateway, start_raw: StartRaw, good: Engine, said: list[bytes]
) -> None:
    gateway = await start_gateway(route(await start_raw(says(*said))), route(good, name="good"))
    async with untouched(gateway, good):
        answer = await post(gateway.port, CHAT, chat(stream=True))
    *_, error, done, end = answer.body.split(b"\n\n")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "engine_broke"
    assert (done, end) == (b"data: [DONE]", b"")


async def test_an_engine_sets_no_cookies_nor_policies_for_the_gateways_name(
    start_gateway: StartGateway, start_raw: StartRaw
) -> None:
    passed = {
        "content-type": "application/json",
        "cache-control": "no-store",
        "openai-processing-ms": "7",
        "x-ratelimit-remaining-tokens": "9",
    }
    kept = {
        "set-cookie": "session=1",
        "access-control-allow-origin": "*",
        "strict-transport-security": "max-age=1",
        "alt-svc": 'h3=":443"',
        "x-llmcloud-reason": "KeyUnknown",
        "server": "engine",
        "x-request-id": "mine",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in (passed | kept).items())
    script = says(OK + lines.encode() + b"content-length: 2\r\n\r\n{}")
    gateway = await start_gateway(route(await start_raw(script)))
    answer = await post(gateway.port, CHAT, chat())
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers.pop("x-request-id") != "mine"
    assert answer.headers == {**passed, "content-length": "2"}


async def test_events_that_are_garbage_pass_and_count_no_tokens(
    start_gateway: StartGateway, start_raw: StartRaw
) -> None:
    garbage = [bytes(range(256)), b"data: \xff\xfe{{{\n\n", b"\n\n\n", b"data: null\n\n"]
    script = says(EVENTS, *map(chunk, garbage), b"0\r\n\r\n")
    gateway = await start_gateway(route(await start_raw(script)))
    answer = await post(gateway.port, CHAT, chat(stream=True))
    assert answer.status == 200
    assert answer.body == b"".join(garbage)
    assert await gateway.metric("tokens_total", kind="input") == 0


async def test_an_answer_shorter_than_its_length_is_cut_off_and_not_ended(
    start_gateway: StartGateway, start_raw: StartRaw
) -> None:
    script = says(OK + b"content-length: 100\r\n\r\n{")
    gateway = await start_gateway(route(await start_raw(script)))
    with pytest.raises(asyncio.IncompleteReadError):
        await post(gateway.port, CHAT, chat())


async def test_what_an_engine_says_unasked_goes_to_nobody(
    start_gateway: StartGateway, start_raw: StartRaw
) -> None:
    poison = OK + b"content-length: 6\r\n\r\npoison"
    script = says(OK + b"content-length: 4\r\n\r\nreal" + poison)
    gateway = await start_gateway(route(await start_raw(script)))
    answers = [await post(gateway.port, CHAT, chat()) for _ in range(3)]
    assert {answer.body for answer in answers} <= {b"real"} | refusals(answers)
    assert b"poison" not in b"".join(answer.body for answer in answers)


def refusals(answers: list[Answer]) -> set[bytes]:
    """The bodies of the gateway's own errors."""
    return {answer.body for answer in answers if "x-llmcloud-reason" in answer.headers}


async def test_an_endless_line_is_passed_on_as_fast_as_the_client_reads(
    start_gateway: StartGateway, start_raw: StartRaw, good: Engine
) -> None:
    sent = 0

    async def script(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(EVENTS)
        while True:
            writer.write(chunk(b"x" * 65536))
            await writer.drain()
            sent += 65536

    gateway = await start_gateway(route(await start_raw(script)), route(good, name="good"))
    async with untouched(gateway, good), connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat(stream=True)))
        await client.head()
        received = 0
        while received < 50 * MEGABYTE:
            received += len(await client.chunk())
        assert sent - received < 32 * MEGABYTE, "it is held somewhere"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_endless_error_is_cut_and_said(
    start_gateway: StartGateway, start_raw: StartRaw, good: Engine, stream: bool
) -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(chunk(b"trouble " * 1000))
            await writer.drain()

    gateway = await start_gateway(route(await start_raw(script)), route(good, name="good"))
    async with untouched(gateway, good):
        answer = await post(gateway.port, CHAT, chat(stream=stream))
    assert answer.status == 500
    assert answer.error["message"].startswith("trouble trouble")
    assert len(answer.body) < 100_000


async def test_a_slow_client_costs_a_place_and_nothing_else(
    start_gateway: StartGateway, start_engine: StartEngine, good: Engine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine), route(good, name="good"), body_seconds=0.5)
    async with untouched(gateway, good):
        async with connect(gateway.port) as client:
            sent = request("POST", CHAT, chat())
            answer = asyncio.create_task(client.answer())
            for byte in sent[:-1]:
                if answer.done():
                    break
                client.send(bytes([byte]))
                await asyncio.sleep(0.01)
            assert (await answer).status == 408
        assert (await get(gateway.port, "/healthz")).status == 200
    assert engine.asked == []
