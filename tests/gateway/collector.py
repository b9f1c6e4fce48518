"""A collector of OpenTelemetry traces on a real socket, which checks what it gets."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Collector:
    """Keeps the spans of OTLP/HTTP requests in JSON, their attributes as a dictionary."""

    status: int = 200
    spans: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    url: str = ""

    async def start(self) -> "Collector":
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1/traces"
        return self

    async def stop(self) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("post /v1/traces http/1.1\r\n")
        assert "content-type: application/json\r\n" in head
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        said = json.loads(await reader.readexactly(length))
        self.requests += 1
        if self.status == 200:
            for resource in said["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    self.spans += [_read(span) for span in scope["spans"]]
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\n{}" % self.status)
        writer.close()


def _read(span: dict[str, Any]) -> dict[str, Any]:
    assert len(bytes.fromhex(span["traceId"])) == 16
    assert len(bytes.fromhex(span["spanId"])) == 8
    assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]) > 0
    values = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
    return {**span, "attributes": values}
