"""The load: connections that ask again as soon as they are answered, and what they see."""

import asyncio
import json
import re
import time
from dataclasses import dataclass, field

import httptools

_SENT = re.compile(rb'"sent":(\d+)')


@dataclass
class Seen:
    """What one run saw. Gaps are in seconds, between reads of one stream that hold chunks."""

    requests: int = 0
    errors: int = 0
    chunks: int = 0
    latencies: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    sent_gaps: list[float] = field(default_factory=list)
    """Between the same chunks when the engine sent them."""


def percentile(values: list[float], percent: float) -> float:
    """By the nearest rank; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def body(size_bytes: int, *, stream: bool) -> bytes:
    """A chat request of about that size."""
    said = {"model": "bench", "max_tokens": 128, "stream": stream}
    empty = {**said, "messages": [{"role": "user", "content": ""}]}
    content = "word " * (max(0, size_bytes - len(json.dumps(empty))) // 5)
    return json.dumps({**said, "messages": [{"role": "user", "content": content}]}).encode()


class _Client(asyncio.Protocol):
    """One connection; `again` decides whether it asks once more after an answer."""

    def __init__(self, request: bytes, seen: Seen, ends: float, *, paced: bool) -> None:
        self._request = request
        self._seen = seen
        self._ends = ends
        self._paced = paced
        self._parser = httptools.HttpResponseParser(self)
        self._began = 0.0
        self._last = 0
        self._last_sent = 0
        self._transport: asyncio.Transport
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._began = time.perf_counter()
        self._last = 0
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        count = data.count(b'"delta"')
        self._seen.chunks += count
        if self._paced and count:
            now = time.monotonic_ns()
            found = _SENT.search(data)
            sent = int(found[1]) if found else 0
            if self._last:
                self._seen.gaps.append((now - self._last) / 1e9)
                self._seen.sent_gaps.append((sent - self._last_sent) / 1e9)
            self._last, self._last_sent = now, sent

    def on_message_complete(self) -> None:
        self._seen.requests += 1
        self._seen.errors += self._parser.get_status_code() != 200
        self._seen.latencies.append(time.perf_counter() - self._began)
        if time.perf_counter() < self._ends:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._ends or exc is not None:
            self._seen.errors += 1
        if not self.done.done():
            self.done.set_result(None)


async def run(
    port: int,
    key: str,
    payload: bytes,
    *,
    connections: int,
    seconds: float,
    paced: bool = False,
) -> Seen:
    """Ask with so many connections for so long; each finishes what it has begun.

    `paced`: every connection asks once, and the gaps between its chunks are kept.
    """
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(payload)}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    seen = Seen()
    ends = time.perf_counter() + (0.0 if paced else seconds)
    clients = []
    for number in range(connections):
        _, client = await loop.create_connection(
            lambda: _Client(head + payload, seen, ends, paced=paced), "127.0.0.1", port
        )
        clients.append(client)
        if paced and number % 20 == 19:
            await asyncio.sleep(0.01)  # or all streams would send at the same moments
    await asyncio.gather(*(client.done for client in clients))
    return seen
