"""What clients can do to the HTTP server: nothing that hurts it or others."""

import asyncio

import pytest

from tests.gateway.client import CHAT, chat, connect, get, post, request
from tests.gateway.conftest import StartEngine, StartGateway, eventually, route
from tests.gateway.records import KEY, record


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n b: folded\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /a HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_malformed_http_is_refused_and_the_connection_closed(
    start_gateway: StartGateway, sent: bytes
) -> None:
    gateway = await start_gateway(route())
    async with connect(gateway.port) as client:
        client.send(sent)
        answer = await client.answer()
        assert answer.status == 400
        assert answer.error["type"] == "invalid_request_error"
        assert await client.closed()
    assert (await get(gateway.port, "/healthz")).status == 200
    assert await gateway.metric("refusals_total", reason="HttpInvalid") == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v1/classify", 404),
        ("POST", "/v1/load_lora_adapter", 404),
        ("POST", "/pause", 404),
        ("POST", "/update_weights", 404),
        ("POST", "/invocations", 404),
        ("POST", "/ns/team-a/invocations", 404),
        ("POST", "/classify/../pause", 404),
        ("POST", "/v1/embeddings%2f", 404),
        ("GET", "/v1/embeddings", 405),
        ("POST", "/v1/chat/completions/", 404),
        ("POST", "/v1//chat/completions", 404),
        ("POST", "/v1/../v1/chat/completions", 404),
        ("POST", "/load_model", 404),
        ("POST", "/reset", 404),
        ("GET", "/samples", 404),
        ("GET", "/ns//v1/models", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models?limit=1", 200),
    ],
)
async def test_only_the_allowed_paths_are_served(
    start_gateway: StartGateway, method: str, path: str, status: int
) -> None:
    gateway = await start_gateway(route())
    async with connect(gateway.port) as client:
        answer = await client.ask(method, path)
    assert answer.status == status


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"wiki"', b"{}", b'{"model": 1}', b"\xff\xfe", b"[" * 100_000, b"9" * 9999],
)
async def test_a_body_that_names_no_model_is_refused_with_the_reason(
    start_gateway: StartGateway, body: bytes
) -> None:
    gateway = await start_gateway(route())
    answer = await post(gateway.port, CHAT, body)
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (400, "BodyInvalid")
    assert answer.error["message"]


async def test_a_body_too_large_is_refused_before_it_is_read(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route(), body_bytes=1000)
    async with connect(gateway.port) as client:
        client.send(b"POST /v1/completions HTTP/1.1\r\ncontent-length: 1001\r\n\r\n")
        assert (await client.answer()).status == 413
    async with connect(gateway.port) as client:
        client.send(b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(11):
            client.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        assert (await client.answer()).status == 413
    await eventually(lambda: gateway.clients.buffers.bytes == 0)


async def test_a_large_body_is_answered_even_if_the_client_sends_it_all_first(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(route(), body_bytes=1000)
    answer = await post(gateway.port, CHAT, b"x" * 5_000_000)
    assert answer.status == 413


async def test_all_bodies_together_are_bounded(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route(), buffered_bytes=10_000)
    async with connect(gateway.port) as holding:
        holding.send(request("POST", CHAT, chat(content="x" * 9000)))
        await eventually(lambda: [live.waiting for live in gateway.routes] == [1])
        answer = await post(gateway.port, CHAT, chat(content="x" * 2000))
        assert (answer.status, answer.headers["x-llmcloud-reason"]) == (503, "BuffersFull")
    await eventually(lambda: gateway.clients.buffers.bytes == 0)


async def test_a_body_that_is_long_in_coming_makes_room_for_another(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()), buffered_bytes=10_000)
    half = request("POST", CHAT, chat(content="x" * 6000))[:-2000]
    async with connect(gateway.port) as slow:
        slow.send(half)
        await eventually(lambda: gateway.clients.buffers.bytes > 3000)
        assert (await post(gateway.port, CHAT, chat(content="x" * 9000))).status == 200
        answer = await slow.answer()
        assert (answer.status, answer.headers["x-llmcloud-reason"]) == (503, "BuffersFull")
        assert gateway.clients.buffers.bytes == 0
        slow.send(b"x" * 4000)
        assert (await get(gateway.port, "/healthz")).status == 200
        assert gateway.clients.buffers.bytes == 0


async def test_a_body_behind_a_request_that_is_served_times_out_too(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engine = await start_engine(permits=permits)
    gateway = await start_gateway(route(engine), header_seconds=0.4, body_seconds=0.4)
    whole = request("POST", CHAT, chat(stream=True))
    async with connect(gateway.port) as client:
        client.send(whole + request("POST", CHAT, chat(content="x" * 5000))[:-2000])
        await eventually(lambda: engine.answering == 1)
        assert gateway.clients.buffers.bytes > 2000
        await eventually(lambda: gateway.clients.buffers.bytes == 0)
        for _ in engine.text.split():
            permits.release()
        assert (await client.answer()).body.count(b"data: {") == 4
        assert await client.closed()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_large_body_is_read_for_known_keys_only_where_no_route_is_open(
    start_gateway: StartGateway, start_engine: StartEngine, chunked: bool
) -> None:
    engine = await start_engine()
    gateway = await start_gateway()
    gateway.serve(route(engine, anonymous=False), keys=[record()])
    body = chat(content="x" * 100_000)
    length = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(body)
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + length
    for key, reason in ((b"", "KeyRequired"), (b"another", "KeyUnknown")):
        async with connect(gateway.port) as client:
            bears = b"\r\nauthorization: Bearer " + key if key else b""
            client.send(head + bears + b"\r\n\r\n")
            answer = await client.answer()
            assert (answer.status, answer.headers["x-llmcloud-reason"]) == (401, reason)
    async with connect(gateway.port) as client:
        client.send(head + b"\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n" + sent)
        assert (await client.answer()).status == 200
    gateway.serve(route(engine), keys=[record()])
    async with connect(gateway.port) as client:
        client.send(head + b"\r\n\r\n" + sent)
        assert (await client.answer()).status == 200


async def test_headers_too_large_are_refused(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route())
    for sent in (b"a: b\r\n" * 6000, b"a: " + b"b" * 40_000):
        async with connect(gateway.port) as client:
            client.send(b"GET /healthz HTTP/1.1\r\n" + sent)
            assert (await client.answer()).status == 431
    async with connect(gateway.port) as client:
        client.send(b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: ")
        for _ in range(10):
            client.send(b"b" * 10_000)
            await asyncio.sleep(0.01)
        assert (await client.answer()).status == 431


async def test_headers_that_never_end_time_out(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route(), header_seconds=0.3)
    async with connect(gateway.port) as slow, connect(gateway.port) as silent:
        slow.send(b"GET /healthz HTTP/1.1\r\n")
        answer = asyncio.create_task(slow.answer())
        while not answer.done():
            slow.send(b"a: b\r\n")
            await asyncio.sleep(0.05)
        assert (await answer).status == 408
        assert await silent.closed()
    assert (await get(gateway.port, "/healthz")).status == 200


async def test_a_body_that_never_ends_times_out(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route(), header_seconds=0.2, body_seconds=0.4)
    async with connect(gateway.port) as client:
        client.send(b"POST /v1/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        assert (await client.answer()).status == 408


async def test_an_idle_connection_is_closed_but_a_waiting_one_is_not(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(route(), header_seconds=0.2, idle_seconds=0.3)
    async with connect(gateway.port) as idle, connect(gateway.port) as waiting:
        assert (await idle.ask("GET", "/healthz")).status == 200
        waiting.send(request("POST", CHAT, chat()))
        assert await idle.closed()
        assert [live.waiting for live in gateway.routes] == [1]


async def test_pipelined_requests_are_answered_in_order(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine))
    async with connect(gateway.port) as client:
        many = [request("POST", CHAT, chat(), x_request_id=f"r{n}") for n in range(20)]
        client.send(b"".join(many))
        for number in range(20):
            answer = await client.answer()
            assert (answer.status, answer.headers["x-request-id"]) == (200, f"r{number}")
        assert (await client.ask("GET", "/healthz")).status == 200


async def test_requests_arriving_byte_by_byte_are_understood(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()))
    async with connect(gateway.port) as client:
        for byte in request("POST", CHAT, chat()) * 2:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 200


async def test_good_requests_before_garbage_are_answered(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()))
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat()) * 2 + b"garbage\r\n\r\n")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 200
        assert await client.closed()


async def test_too_many_pipelined_requests_are_not_kept(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route(), pipelined_requests=8)
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat()) * 100)
        await eventually(lambda: [live.waiting for live in gateway.routes] == [1])
    await eventually(lambda: not gateway.clients.connections)
    assert gateway.clients.buffers.bytes == 0


async def test_old_and_odd_clients_are_served(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()))
    body = chat(stream=True)
    async with connect(gateway.port) as client:
        client.send(b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body))
        client.send(body)
        answer = await client.answer()
        assert "transfer-encoding" not in answer.headers
        assert answer.body.count(b"data: ") == 4
    async with connect(gateway.port) as client:
        for _ in range(2):
            client.send(request("POST", CHAT, chat(), connection="Upgrade", upgrade="h2c"))
            assert (await client.answer()).status == 200
    async with connect(gateway.port) as client:
        client.send(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n")
        assert (await client.answer()).status == 405
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, b"", expect="100-continue")[:-4] + b"\r\n")
        client.send(b"x-pad: 1\r\n\r\n")
        assert (await client.head()).status == 100
        assert (await client.answer()).status == 400


async def test_connections_are_bounded(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route(), connections=2)
    async with connect(gateway.port) as one, connect(gateway.port) as two:
        assert (await one.ask("GET", "/healthz")).status == 200
        assert (await two.ask("GET", "/healthz")).status == 200
        async with connect(gateway.port) as three:
            assert (await three.answer()).status == 503
    await eventually(lambda: not gateway.clients.connections)
    assert (await get(gateway.port, "/healthz")).status == 200


async def test_a_client_that_never_reads_is_dropped(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine(text=" ".join(["x" * 4000] * 5000))
    gateway = await start_gateway(route(engine), header_seconds=1, write_stall_seconds=0.5)
    async with connect(gateway.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(request("POST", CHAT, chat(stream=True)))
        await eventually(lambda: engine.abandoned == 1)
    assert (await gateway.sample()).in_flight == 0
