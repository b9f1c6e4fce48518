"""OpenTelemetry traces: one span for each request that asks a model, by OTLP over HTTP in JSON.

Off unless an address is given. Spans wait in a bounded buffer and go in batches; a collector that
is away costs spans and nothing else. A client's `traceparent` (W3C Trace Context) is the parent,
and its decision whether to sample holds; engines get this span as theirs.
"""

import asyncio
import json
import logging
import random
import re
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

Attribute = str | int | float
_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_BUFFERED = 4096
_BATCH = 512
_PAUSE_SECONDS = 2.0
_SEND_SECONDS = 10.0
_SERVER_KIND = 2
_ERROR = 2


@dataclass(slots=True)
class Span:
    """One request. `attributes` may be added to until it is given to `Traces.end`."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: float
    attributes: dict[str, Attribute] = field(default_factory=dict)

    @property
    def traceparent(self) -> bytes:
        """What the engine gets as its parent."""
        return f"00-{self.trace_id}-{self.span_id}-01".encode()

    def wire(self, end: float) -> dict[str, object]:
        """The span in OTLP's JSON; times in nanoseconds, as text."""
        status = self.attributes.get("http.response.status_code", 0)
        return {
            "traceId": self.trace_id,
            "spanId": self.span_id,
            "parentSpanId": self.parent_id,
            "name": self.name,
            "kind": _SERVER_KIND,
            "startTimeUnixNano": str(int(self.start * 1e9)),
            "endTimeUnixNano": str(int(end * 1e9)),
            "attributes": [_attribute(*item) for item in self.attributes.items()],
            "status": {"code": _ERROR} if isinstance(status, int) and status >= 500 else {},
        }


def _attribute(name: str, value: Attribute) -> dict[str, object]:
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}
    if isinstance(value, float):
        return {"key": name, "value": {"doubleValue": value}}
    return {"key": name, "value": {"stringValue": value}}


class Traces:
    """Sends spans to `url`, an http or https address of OTLP (usually .../v1/traces)."""

    def __init__(self, url: str, sampled_fraction: float, instance: str) -> None:
        """ValueError if `url` is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--traces-url must be an http or https URL, not {url!r}")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._path = parts.path or "/v1/traces"
        self._fraction = sampled_fraction
        self._resource = [
            _attribute("service.name", "llmcloud-gateway"),
            _attribute("service.instance.id", instance),
        ]
        self._ended: list[dict[str, object]] = []
        self._due = asyncio.Event()
        self.lost = 0
        """Spans that no collector has got."""

    def begin(self, name: str, traceparent: bytes) -> Span | None:
        """A span, unless the client or chance has decided against it."""
        sent = _TRACEPARENT.fullmatch(traceparent)
        if sent is not None:
            if not int(sent[3], 16) & 1:
                return None
            trace_id, parent_id = sent[1].decode(), sent[2].decode()
        else:
            if random.random() >= self._fraction:
                return None
            trace_id, parent_id = f"{random.getrandbits(128):032x}", ""
        return Span(trace_id, f"{random.getrandbits(64):016x}", parent_id, name, time.time())

    def end(self, span: Span) -> None:
        """The request is over."""
        if len(self._ended) >= _BUFFERED:
            self.lost += 1
            return
        self._ended.append(span.wire(time.time()))
        if len(self._ended) >= _BATCH:
            self._due.set()

    async def run(self) -> None:
        """Sends batches for ever, and what is left when it is cancelled."""
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._due.wait(), _PAUSE_SECONDS)
                self._due.clear()
                await self._flush()
        finally:
            await self._flush()

    async def _flush(self) -> None:
        while self._ended:
            batch, self._ended = self._ended[:_BATCH], self._ended[_BATCH:]
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    status = await self._send(batch)
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                status = 0
                log.warning("Cannot send traces to %s: %s", self._host, error or type(error))
            if status // 100 != 2:
                self.lost += len(batch)
                if status:
                    log.warning("The collector at %s answered %d to traces", self._host, status)
                return

    async def _send(self, spans: list[dict[str, object]]) -> int:
        scope = {"scope": {"name": "llmcloud_gateway"}, "spans": spans}
        resource = {"resource": {"attributes": self._resource}, "scopeSpans": [scope]}
        body = json.dumps({"resourceSpans": [resource]}).encode()
        context = ssl.create_default_context() if self._secure else None
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        try:
            host = f"[{self._host}]" if ":" in self._host else self._host
            writer.write(
                f"POST {self._path} HTTP/1.1\r\nhost: {host}:{self._port}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
                + body
            )
            line = await reader.readuntil(b"\r\n")
            return int(line.split(b" ")[1])
        finally:
            writer.close()
