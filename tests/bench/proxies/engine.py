"""An engine that costs little: fixed answers, and streams at a fixed pace.

Every chunk carries the engine's clock (CLOCK_MONOTONIC in nanoseconds, shared by all processes of
a machine), so that the load can tell its own lateness from the proxy's.
"""

import argparse
import asyncio
import json
import time

import httptools
import uvloop

_CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":"token "},"finish_reason":null}],"sent":%d}\n\n'
)
_USAGE = {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120}
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _whole(body: object) -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        len(data),
        data,
    )


_ANSWER = _whole(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "token " * 20},
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
)
_MODELS = _whole({"object": "list", "data": [{"id": "bench", "object": "model"}]})


class Connection(asyncio.Protocol):
    """One client of the engine."""

    def __init__(self, chunks: int, gap_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._chunks = chunks
        self._gap_seconds = gap_seconds
        self._body = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            self._transport.write(_MODELS)
        elif b'"stream":true' in self._body.replace(b" ", b""):
            self._transport.write(_STREAM_HEAD)
            usage = b'"include_usage":true' in self._body.replace(b" ", b"")
            self._send(self._loop.time(), 1, usage)
        else:
            self._transport.write(_ANSWER)

    def _send(self, began: float, number: int, usage: bool) -> None:
        """One chunk at its time; lateness does not add up."""
        if self._transport.is_closing():
            return
        if number <= self._chunks:
            data = _CHUNK % time.monotonic_ns()
            self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))
            due = began + number * self._gap_seconds
            self._loop.call_at(due, self._send, began, number + 1, usage)
            return
        end = b"data: [DONE]\n\n"
        if usage:
            said = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
            told = {**said, "model": "bench", "choices": [], "usage": _USAGE}
            event = json.dumps(told, separators=(",", ":")).encode()
            end = b"data: %s\n\n" % event + end
        self._transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(options.chunks, options.gap_seconds),
        "127.0.0.1",
        options.port,
        backlog=4096,
    )
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--gap-seconds", type=float, default=0.005)
    uvloop.run(_serve(parser.parse_args()))
