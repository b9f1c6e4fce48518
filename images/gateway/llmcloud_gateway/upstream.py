"""Connections to engines: a pool for each replica, one request at a time on each connection.

An engine's answer goes to a `Sink` as it is read. Refuses to retry or to choose: `relay` does.
"""

import asyncio
import socket
from typing import Protocol

import httptools

_HEAD_BYTES = 64 << 10
_KEEPALIVE_IDLE_SECONDS = 15
_KEEPALIVE_INTERVAL_SECONDS = 5
_KEEPALIVE_PROBES = 3


class Sink(Protocol):
    """Takes an engine's response. `flush` follows every read; the end is the exchange's own."""

    def on_head(
        self, status: int, headers: list[tuple[bytes, bytes]], length_bytes: int | None
    ) -> None: ...
    def on_data(self, data: bytes) -> None: ...
    def flush(self) -> None: ...


class EngineUnreachable(Exception):
    """No connection, or one that ended before it answered anything: another replica may try.

    `stale`: the connection had been idle, so that its end says nothing about the replica.
    """

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class EngineBroke(Exception):
    """The answer began and did not end as HTTP says it must."""


class EngineConnection(asyncio.Protocol):
    """One connection. `exchange` may be called again once it has returned and `reusable` is so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._sink: Sink | None = None
        self._done: asyncio.Future[None]
        self._reused = False
        self._until_closed = False
        self._begin()
        self.transport: asyncio.Transport
        self.reusable = False
        self.idle_since = 0.0
        self._heard = 0.0
        self._silence: asyncio.TimerHandle

    def _begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._length_bytes: int | None = None
        self._chunked = False
        self._received_bytes = 0
        self._head_complete = False

    async def exchange(
        self, request: list[bytes], sink: Sink, silence_seconds: float = 600.0
    ) -> None:
        """Sends a request and returns when its response has gone to `sink` whole.

        Raises EngineUnreachable before the first byte of an answer, EngineBroke after it or if
        nothing comes for `silence_seconds`: who took a request may still be at work on it. After
        any error and after a cancellation the connection must be dropped.
        """
        if self.transport.is_closing():
            raise EngineUnreachable("the connection was closed while idle", stale=True)
        self._begin()
        self._until_closed = False
        self.reusable = False
        self._sink = sink
        self._done = self._loop.create_future()
        self._heard = self._loop.time()
        self._listen_until(self._heard + silence_seconds, silence_seconds)
        self.transport.writelines(request)
        try:
            await self._done
        finally:
            self._sink = None
            self._silence.cancel()
        self._reused = True

    def _listen_until(self, moment: float, silence_seconds: float) -> None:
        """One timer for a whole answer, however many parts it has."""
        self._silence = self._loop.call_at(moment, self._check_silence, silence_seconds)

    def _check_silence(self, silence_seconds: float) -> None:
        ends = self._heard + silence_seconds
        if self._loop.time() < ends:
            self._listen_until(ends, silence_seconds)
        elif not self._done.done():
            self._done.set_exception(EngineBroke(f"it said nothing for {silence_seconds:g} s"))
            self.drop()

    def drop(self) -> None:
        self.transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        tcp = socket.IPPROTO_TCP
        connection.setsockopt(tcp, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
        connection.setsockopt(tcp, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
        connection.setsockopt(tcp, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)

    def data_received(self, data: bytes) -> None:
        sink = self._sink
        if sink is None:  # nothing was asked
            self.drop()
            return
        self._received_bytes += len(data)
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"it does not speak HTTP/1.1: {error}")
        else:
            if not self._head_complete and self._received_bytes > _HEAD_BYTES:
                self._fail(f"its response head is larger than {_HEAD_BYTES} bytes")
        sink.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sink is None or self._done.done():
            return
        if self._until_closed:
            self._done.set_result(None)
        else:
            self._fail(str(exc) if exc else "it closed the connection")

    def _fail(self, problem: str) -> None:
        if not self._done.done():
            error: Exception
            if self._received_bytes:
                error = EngineBroke(problem)
            else:
                error = EngineUnreachable(problem, stale=self._reused)
            self._done.set_exception(error)
        self.drop()

    # Called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_complete:  # a trailer
            return
        name = name.lower()
        if name == b"content-length":
            self._length_bytes = int(value)
        elif name == b"transfer-encoding":
            self._chunked = True
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # informational: the response is still to come
            self._headers = []
            return
        self._head_complete = True
        self._until_closed = (
            self._length_bytes is None and not self._chunked and status not in (204, 304)
        )
        assert self._sink is not None
        self._sink.on_head(status, self._headers, self._length_bytes)

    def on_body(self, data: bytes) -> None:
        assert self._sink is not None
        self._sink.on_data(data)

    def on_message_complete(self) -> None:
        if not self._head_complete or self._done.done():
            return
        self.reusable = self._parser.should_keep_alive()
        self._until_closed = False
        self.transport.resume_reading()
        self._done.set_result(None)


class Pool:
    """Connections to one `host:port` ([host]:port for IPv6), the youngest idle one used first."""

    def __init__(self, endpoint: str, connect_seconds: float, idle_seconds: float) -> None:
        host, _, port = endpoint.rpartition(":")
        self._host = host.removeprefix("[").removesuffix("]")
        self._port = int(port)
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._idle: list[EngineConnection] = []
        self._closed = False

    async def take(self, *, fresh: bool) -> EngineConnection:
        """A connection; never one that has been used before if `fresh`. EngineUnreachable."""
        loop = asyncio.get_running_loop()
        if not fresh:
            self._drop_expired(loop.time())
            while self._idle:
                connection = self._idle.pop()
                if not connection.transport.is_closing():
                    return connection
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await self._connect(loop)
        except OSError as error:  # TimeoutError is one
            raise EngineUnreachable(str(error) or "connecting timed out") from None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> EngineConnection:
        _, connection = await loop.create_connection(
            lambda: EngineConnection(loop), self._host, self._port
        )
        return connection

    def give_back(self, connection: EngineConnection) -> None:
        if self._closed or not connection.reusable:
            connection.drop()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def close(self) -> None:
        """Closes what is idle now, and later what is in use now."""
        self._closed = True
        while self._idle:
            self._idle.pop().drop()

    def _drop_expired(self, now: float) -> None:
        while self._idle and self._idle[0].idle_since < now - self._idle_seconds:
            self._idle.pop(0).drop()
