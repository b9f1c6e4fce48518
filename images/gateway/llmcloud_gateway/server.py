"""A small HTTP/1.1 server: bounded parsing, keep-alive, pipelining, timeouts, draining.

One task per request runs the handler; everything else happens in protocol callbacks. It reads a
body whole before the handler starts, because the gateway routes by what is in it. It refuses what
is ambiguous (llhttp's strict rules) and never speaks HTTP/2 or upgrades.
"""

import asyncio
import logging
import math
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from secrets import token_hex

import httptools

from llmcloud_gateway import errors
from llmcloud_gateway.errors import GatewayError
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.request import Buffers, Request
from llmcloud_gateway.response import Response

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_NEVER = math.inf

Handler = Callable[[Request, Response], Awaitable[None]]
Screen = Callable[[dict[bytes, bytes]], None]
"""Looks at the headers of a request with a large body before it is read; GatewayError: refused."""


class Server:
    """Listens, and keeps what all of its connections share."""

    def __init__(self, handler: Handler, limits: Limits, screen: Screen = lambda _: None) -> None:
        self.handler = handler
        self.screen = screen
        self.limits = limits
        self.connections: set[Connection] = set()
        self.buffers = Buffers()
        self.refusals: Counter[str] = Counter()
        self.draining = False
        self._empty = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._request_ids = count()
        self._request_id_prefix = token_hex(8).encode()

    async def start(self, port: int, host: str | None = None) -> int:
        """Listens on `port` (0: any free one) of `host` (None: all addresses); returns the port."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(self, loop), host, port, backlog=2048
        )
        self._sweeper = loop.create_task(self._sweep())
        return int(self._listener.sockets[0].getsockname()[1])

    async def drain(self, seconds: float) -> None:
        """Accepts no more, lets requests in flight end for up to `seconds`, closes the rest.

        A connection without a request stays for `Limits.drain_idle_seconds`: one that is on its
        way on it would be lost. Its answer says `connection: close`.
        """
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.begin_drain()
        if self.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def forget(self, connection: "Connection") -> None:
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self._empty.set()

    def make_room(self, comer: "Connection") -> None:
        """Refuses requests of which most has been held for longest without being complete.

        GatewayError if that is the `comer`'s own.
        """
        now = asyncio.get_running_loop().time()
        while self.buffers.bytes > self.limits.buffered_bytes:
            slowest = max(self.connections, key=lambda one: one.held(now))
            if slowest is comer:
                raise errors.buffers_full()
            slowest.refuse(errors.buffers_full())

    def next_request_id(self) -> bytes:
        return b"req-%s-%d" % (self._request_id_prefix, next(self._request_ids))

    async def _sweep(self) -> None:
        """Ends connections past their deadline: one timer for all instead of one for each."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self.limits.header_seconds / 4))
            now = loop.time()
            for connection in list(self.connections):
                if connection.deadline < now:
                    connection.expire()
                elif connection.pipelined_by < now:
                    connection.hear_no_more()


class Connection(asyncio.Protocol):
    """One client. `deadline` is when `Server` calls `expire`; never, while a request is served.

    `pipelined_by`: when the request that is read while another is served must be complete.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._pending: deque[Request] = deque()
        self._response: Response | None = None
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = True
        self._reading = False
        self._deaf = False
        self._closing = False
        self._head_complete = False
        self._unfinished_bytes = 0
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._body_since = 0.0
        self.pipelined_by = _NEVER
        self.deadline = loop.time() + self._limits.header_seconds

    # Called by the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._server.connections.add(self)
        if len(self._server.connections) > self._limits.connections:
            self.refuse(errors.too_many_connections(self._limits.connections))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._drop_body()
        while self._pending:
            self._pending.popleft().forget_body()
        if self._request is not None:
            self._request.forget_body()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unfinished_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            refusal = error.__context__
            if not isinstance(refusal, GatewayError):
                raise
            self.refuse(refusal)
        except httptools.HttpParserError as error:
            self.refuse(errors.http_invalid(str(error)))
        else:
            if self._unfinished_bytes > self._limits.head_bytes:
                self.refuse(errors.head_too_large(self._limits.head_bytes))

    def pause_writing(self) -> None:
        self._writable = False
        self.deadline = self._loop.time() + self._limits.write_stall_seconds
        if self._response is not None:
            self._response.pause()

    def resume_writing(self) -> None:
        self._writable = True
        if not self._closing:
            self.deadline = _NEVER if self._task is not None else self._next_deadline()
        if self._response is not None:
            self._response.resume()

    # Called by the parser

    def on_message_begin(self) -> None:
        self._reading = True
        self._head_complete = False
        self._target = b""
        self._headers = {}
        if self._task is None:
            self.deadline = self._loop.time() + self._limits.header_seconds
        else:
            self.pipelined_by = self._loop.time() + self._limits.header_seconds

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:  # else a trailer
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        limits = self._limits
        head_bytes = len(self._target)
        for name, value in self._headers.items():
            head_bytes += len(name) + len(value)
        if head_bytes > limits.head_bytes:
            raise errors.head_too_large(limits.head_bytes)
        self._head_complete = True
        self._unfinished_bytes = 0
        length = self._headers.get(b"content-length")
        size = 0 if length is None else int(length)
        if size > limits.body_bytes:
            raise errors.body_too_large(limits.body_bytes)
        if size > limits.screened_bytes or b"transfer-encoding" in self._headers:
            self._server.screen(self._headers)
        self._body_since = self._loop.time()
        if self._task is None:
            self.deadline = self._body_since + limits.body_seconds
        else:
            self.pipelined_by = self._body_since + limits.body_seconds
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._unfinished_bytes = 0
        self._body.append(data)
        self._body_bytes += len(data)
        self._server.buffers.bytes += len(data)
        if self._body_bytes > self._limits.body_bytes:
            raise errors.body_too_large(self._limits.body_bytes)
        if self._server.buffers.bytes > self._limits.buffered_bytes:
            self._server.make_room(self)

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():  # its body is still to come
            return
        request = Request(
            id=self._server.next_request_id(),
            method=self._parser.get_method(),
            target=self._target,
            headers=self._headers,
            body=b"".join(self._body),
            http_1_1=self._parser.get_http_version() == "1.1",
            keep_alive=self._parser.should_keep_alive(),
            buffers=self._server.buffers,
        )
        self._body = []
        self._body_bytes = 0
        self._unfinished_bytes = 0
        self._reading = False
        self._head_complete = False
        self.pipelined_by = _NEVER
        if self._task is None:
            self._begin(request)
            return
        if len(self._pending) >= self._limits.pipelined_requests:
            request.forget_body()
            raise errors.pipeline_full()
        self._pending.append(request)

    # One request after the other

    def _begin(self, request: Request) -> None:
        self.deadline = _NEVER
        self._request = request
        sent_id = request.headers.get(b"x-request-id", b"")
        self._response = Response(
            self._transport,
            http_1_1=request.http_1_1,
            keep_alive=request.keep_alive
            and request.method != b"HEAD"  # its error has a body
            and not self._server.draining,
            request_id=sent_id if _REQUEST_ID.fullmatch(sent_id) else request.id,
        )
        if not self._writable:
            self._response.pause()
        self._task = self._loop.create_task(self._serve(request, self._response))

    async def _serve(self, request: Request, response: Response) -> None:
        try:
            await self._server.handler(request, response)
        except GatewayError as error:
            self._server.refusals[error.reason] += 1
            response.fail(error)
        except Exception:
            log.exception("Could not serve %s", response.request_id.decode())
            self._transport.abort()
        request.forget_body()
        self._finish(response)

    def _finish(self, response: Response) -> None:
        self._task = None
        self._request = None
        self._response = None
        if not response.ended:
            self._transport.abort()
        elif not response.keep_alive:
            self._close()
        elif self._pending:
            self._begin(self._pending.popleft())
        else:
            self.pipelined_by = _NEVER
            self.deadline = self._next_deadline()

    def held(self, now: float) -> tuple[float, int]:
        """Of a body that is not complete: bytes times seconds, and bytes."""
        return self._body_bytes * (now - self._body_since), self._body_bytes

    def _drop_body(self) -> None:
        self._server.buffers.bytes -= self._body_bytes
        self._body, self._body_bytes = [], 0

    def _next_deadline(self) -> float:
        limits = self._limits
        if not self._reading:
            idle = limits.drain_idle_seconds if self._server.draining else limits.idle_seconds
            return self._loop.time() + idle
        seconds = limits.body_seconds if self._head_complete else limits.header_seconds
        return self._loop.time() + seconds

    # Ends

    def begin_drain(self) -> None:
        if self._response is not None and not self._response.started:
            self._response.keep_alive = False
        if self._task is None and not self._reading and not self._closing and self._writable:
            self.deadline = self._next_deadline()

    def abort(self) -> None:
        self._transport.abort()

    def expire(self) -> None:
        """The deadline passed: says so if the client is in the middle of a request."""
        if self._reading and not self._closing and self._task is None and self._writable:
            self.refuse(errors.request_timeout())
        elif self._server.draining and not self._closing and self._writable:
            self._transport.close()
        else:
            self._transport.abort()

    def refuse(self, error: GatewayError) -> None:
        """Answers a request that cannot be read and closes.

        With earlier requests still being served, closes after the last of them instead.
        """
        self._server.refusals[error.reason] += 1
        if self._task is not None:
            self.hear_no_more()
            return
        self._drop_body()
        id_ = self._server.next_request_id()
        response = Response(self._transport, http_1_1=True, keep_alive=False, request_id=id_)
        response.fail(error)
        self._close()

    def _close(self) -> None:
        """Closes without a reset that would overtake the answer: what still comes is dropped."""
        self._deaf = True
        self._closing = True
        self.deadline = self._loop.time() + self._limits.linger_seconds
        if not self._transport.is_closing():
            self._transport.write_eof()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Reads the request again as plain HTTP/1.1, as RFC 9110 7.8 allows.

        Java's client asks for h2c on its first request, and llhttp then reads no body.
        """
        method = self._parser.get_method()
        if b"upgrade" not in self._headers:
            self.refuse(errors.method_not_allowed(method.decode(), "GET or POST"))
            return
        head = b"%s %s HTTP/1.1\r\n" % (method, self._target)
        for name, value in self._headers.items():
            if name not in (b"connection", b"upgrade", b"http2-settings"):
                head += b"%s: %s\r\n" % (name, value)
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(head + b"\r\n" + rest)

    def hear_no_more(self) -> None:
        """Reads nothing more, and closes after the last request that was complete."""
        self._deaf = True
        self.pipelined_by = _NEVER
        self._drop_body()
        last = self._pending[-1] if self._pending else self._response
        if last is not None:
            last.keep_alive = False
