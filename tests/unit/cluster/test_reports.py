"""What pods tell is bounded, whatever a tenant's pod answers: real sockets, hostile servers."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from llmcloud.api.contract import GatewaySamples
from llmcloud.app import pod_session
from llmcloud.cluster.reports import REPORT_BYTES, SAMPLES_BYTES, pull

CHUNK = b"0" * 65536
GIGABYTE = 1 << 30
SOCKET_BYTES = 16 << 20
"""What kernel and transports may hold between a server and a client that reads no more."""
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await answer(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/samples"


async def pulled(answer: Answer, most_bytes: int = REPORT_BYTES) -> GatewaySamples | None:
    async with server(answer) as url, pod_session() as session:
        return await pull(session, url, GatewaySamples, most_bytes)


def whole(body: bytes, headers: bytes = b"") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n" % (len(body), headers)
        writer.write(head + body)
        await writer.drain()

    return answer


async def test_a_report_is_read() -> None:
    assert await pulled(whole(b'{"samples": []}')) == GatewaySamples(samples=[])


async def test_a_gateway_may_tell_of_more_keys_than_a_tenants_pod_may_tell_anything() -> None:
    counted = {"requests": 9, "inputTokens": 10**12, "outputTokens": 9, "lastUsed": 9}
    key = {"namespace": "team-a", "name": "k" * 63, "windows": [], **counted}
    samples = GatewaySamples.model_validate({"samples": [], "keys": [key] * 20_000})
    body = samples.model_dump_json(by_alias=True).encode()
    assert REPORT_BYTES < len(body) < SAMPLES_BYTES
    assert await pulled(whole(body)) is None
    assert await pulled(whole(body), SAMPLES_BYTES) == samples


async def test_a_gigabyte_is_left_unread() -> None:
    sent = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % GIGABYTE)
        while sent < GIGABYTE:
            writer.write(CHUNK)
            await writer.drain()
            sent += len(CHUNK)

    assert await pulled(answer) is None
    assert sent < REPORT_BYTES + SOCKET_BYTES


async def test_what_is_packed_small_is_not_unpacked() -> None:
    packed = gzip.compress(b'{"samples": []}' + b" " * (64 << 20))
    assert len(packed) < REPORT_BYTES
    assert await pulled(whole(packed, b"content-encoding: gzip\r\n")) is None


async def test_what_is_no_report_is_none() -> None:
    for body in (b"[" * 100_000, b"{}", b"\xff", b'{"samples": [{}]}'):
        assert await pulled(whole(body)) is None
