"""One HTTP response on its way to a client: framing and nothing else.

What is written is collected until `flush`, so that one read from an engine becomes one write to
the client. Refuses to know who wrote it: an engine's relay, the hold queue and errors all do.
"""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus

from llmcloud_gateway.errors import GatewayError

Headers = Iterable[tuple[bytes, bytes]]

EVENT_STREAM = b"text/event-stream; charset=utf-8"
JSON = b"application/json"

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


class Response:
    """Frames one response: by `content-length` if the length is known, else chunked.

    An HTTP/1.0 client gets a body of unknown length up to the connection's end.
    """

    __slots__ = (
        "_chunked",
        "_out",
        "_paused",
        "_source",
        "_transport",
        "ended",
        "http_1_1",
        "keep_alive",
        "request_id",
        "started",
        "status",
    )

    def __init__(
        self, transport: asyncio.Transport, *, http_1_1: bool, keep_alive: bool, request_id: bytes
    ) -> None:
        self._transport = transport
        self._out: list[bytes] = []
        self._chunked = False
        self._source: asyncio.Transport | None = None
        self._paused = False
        self.http_1_1 = http_1_1
        self.keep_alive = keep_alive
        self.request_id = request_id
        self.status = 0
        self.started = False
        self.ended = False

    def start(self, status: int, headers: Headers, length_bytes: int | None) -> None:
        self.started = True
        self.status = status
        out = self._out
        out.append(_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status)
        for name, value in headers:
            out.append(b"%s: %s\r\n" % (name, value))
        if length_bytes is not None:
            out.append(b"content-length: %d\r\n" % length_bytes)
        elif self.http_1_1:
            self._chunked = True
            out.append(b"transfer-encoding: chunked\r\n")
        else:
            self.keep_alive = False
        if not self.keep_alive:
            out.append(b"connection: close\r\n")
        elif not self.http_1_1:
            out.append(b"connection: keep-alive\r\n")
        out.append(b"x-request-id: %s\r\n\r\n" % self.request_id)

    def write(self, data: bytes) -> None:
        if not data:
            return
        if self._chunked:
            self._out.append(b"%x\r\n%s\r\n" % (len(data), data))
        else:
            self._out.append(data)

    def flush(self) -> None:
        if self._out and not self._transport.is_closing():
            out = self._out
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        self._out = []

    def end(self) -> None:
        if self._chunked:
            self._out.append(b"0\r\n\r\n")
        self.ended = True
        self.flush()

    def send(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: Headers = ()
    ) -> None:
        """A whole response at once."""
        self.start(status, [(b"content-type", content_type), *headers], len(body))
        self.write(body)
        self.end()

    def start_events(self) -> None:
        """The head of an event stream, if it has not been sent yet."""
        if not self.started:
            headers = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-cache")]
            self.start(200, headers, None)

    def fail(self, error: GatewayError) -> None:
        """Tells the client: by status if nothing is sent yet, else by an error event.

        Only for responses that have not started or that are event streams.
        """
        if self.started:
            self.fail_event(error.body())
        else:
            self.send(error.status, error.body(), headers=error.headers())

    def fail_event(self, body: bytes) -> None:
        """Ends an event stream with an error. The blank line closes an event cut in half."""
        self.write(b"\n\ndata: " + body + b"\n\ndata: [DONE]\n\n")
        self.end()

    def attach(self, source: asyncio.Transport | None) -> None:
        """Names the transport to be paused while the client reads slower than it sends."""
        self._source = source
        if source is not None and self._paused:
            source.pause_reading()

    def pause(self) -> None:
        self._paused = True
        if self._source is not None:
            self._source.pause_reading()

    def resume(self) -> None:
        self._paused = False
        if self._source is not None:
            self._source.resume_reading()
