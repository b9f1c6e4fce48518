"""A proxy on loopback between a client and its store, which can spoil what passes.

It forwards whole requests, and answers as it is told: a refusal instead of the store's answer, or
the store's answer cut, reset or stalled half-way, after the store has done what was asked.
"""

import asyncio
import http.client
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Thread
from urllib.parse import urlsplit

from llmcloud.api.contract import StoreLocation
from llmcloud.api.location import Provider

HOP_HEADERS = {"connection", "expect", "keep-alive", "transfer-encoding", "content-length"}
STALL_SECONDS = 20
TICK_SECONDS = 0.01


class Fault(StrEnum):
    """What happens to one exchange."""

    SLOW_DOWN = "503"
    TOO_MANY = "429"
    EXPIRED = "403"
    RESET = "reset"
    TRUNCATE = "truncate"
    STALL = "stall"


CODES: dict[Fault, dict[Provider, str]] = {
    Fault.SLOW_DOWN: {"aws": "SlowDown", "gcp": "backendError", "azure": "ServerBusy"},
    Fault.TOO_MANY: {"aws": "TooManyRequests", "gcp": "rateLimitExceeded", "azure": "TooMany"},
    Fault.EXPIRED: {"aws": "ExpiredToken", "gcp": "forbidden", "azure": "AuthenticationFailed"},
}


@dataclass(frozen=True)
class Request:
    """What a client asks. Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What the store says."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: str

    @property
    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} x", f"Content-Length: {self.length}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


Judge = Callable[[Request], Fault | None]


class Proxy:
    """Forwards to one store. `judge` decides on each request; `requests` are all that came."""

    def __init__(self, store_url: str, provider: Provider) -> None:
        parts = urlsplit(store_url)
        self._store = (parts.hostname or "", parts.port or 80)
        self._path = parts.path
        self._provider = provider
        self.judge: Judge = lambda request: None
        self.requests: list[Request] = []
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    def wait_until_left(self) -> None:
        """Until all clients are gone, also those that were killed, and what they asked is done."""
        asyncio.run_coroutine_threadsafe(self._left(), self.loop).result()

    async def _left(self) -> None:
        await asyncio.sleep(TICK_SECONDS)  # the last to come may not be accepted yet
        while self._clients:
            await asyncio.wait(self._clients)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        client = asyncio.current_task()
        assert client is not None
        self._clients.add(client)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(client)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False if the connection ends with it."""
        request = await _read_request(reader, writer)
        self.requests.append(request)
        fault = self.judge(request)
        if fault in CODES:
            answer = self._refusal(fault)
        else:
            answer = await asyncio.to_thread(self._ask, request)
        body = b"" if request.method == "HEAD" else answer.body
        if fault is None or fault in CODES:
            writer.write(answer.head + body)
            await writer.drain()
            return True
        if body:
            writer.write(answer.head + body[: len(body) // 2])
            await writer.drain()
        if fault is Fault.STALL:
            await asyncio.sleep(STALL_SECONDS)
        if fault is Fault.RESET:
            linger = struct.pack("ii", 1, 0)
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return False

    def _ask(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(*self._store, timeout=60)
        try:
            headers = {k: v for k, v in request.headers.items() if k not in HOP_HEADERS}
            headers["content-length"] = str(len(request.body))
            connection.putrequest(
                request.method, request.target, skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            body = answer.read()
            kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in HOP_HEADERS]
            length = answer.getheader("Content-Length") or str(len(body))
            return Answer(answer.status, kept, body, length)
        finally:
            connection.close()

    def _refusal(self, fault: Fault) -> Answer:
        code = CODES[fault][self._provider]
        if self._provider == "gcp":
            text = f'{{"error": {{"code": {fault}, "errors": [{{"reason": "{code}"}}]}}}}'
            headers = [("Content-Type", "application/json")]
        else:
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code>"
            text += "<Message>wrong-secret</Message></Error>"
            headers = [("Content-Type", "application/xml"), ("x-ms-error-code", code)]
        return Answer(int(fault), headers, text.encode(), str(len(text)))


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    pairs = (line.split(":", 1) for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, value in pairs}
    if "expect" in headers:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert "transfer-encoding" not in headers, "no client of ours sends chunks"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


@contextmanager
def proxied(store_url: str, provider: Provider) -> Iterator[Proxy]:
    """A running proxy before a store."""
    proxy = Proxy(store_url, provider)
    loop = proxy.loop
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    start = asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(start, loop).result()
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def behind(location: StoreLocation) -> Iterator[tuple[StoreLocation, Proxy]]:
    """A location as it is reached through a proxy of its own."""
    assert location.endpoint_url
    with proxied(location.endpoint_url, location.provider) as proxy:
        yield location.model_copy(update={"endpoint_url": proxy.url}), proxy


async def _stop(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
