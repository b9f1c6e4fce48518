"""An HTTP client that hides nothing: raw bytes out, heads and chunks in."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> Answer:
        async with asyncio.timeout(60):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        pairs = (line.split(": ", 1) for line in lines if line)
        return Answer(int(first.split(" ")[1]), dict(pairs))

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        async with asyncio.timeout(60):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:size]

    async def chunks(self) -> list[bytes]:
        found = []
        while chunk := await self.chunk():
            found.append(chunk)
        return found

    async def answer(self) -> Answer:
        answer = await self.head()
        if answer.headers.get("transfer-encoding") == "chunked":
            answer.body = b"".join(await self.chunks())
        elif "content-length" in answer.headers:
            answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
        else:
            answer.body = await self.reader.read()
        return answer

    async def closed(self) -> bool:
        """True once the gateway has closed the connection; what it still sent is lost."""
        with suppress(ConnectionError):
            await self.reader.read()
        return True

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        self.send(request(method, path, body, **headers))
        return await self.answer()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def get(port: int, path: str) -> Answer:
    async with connect(port) as client:
        return await client.ask("GET", path)


async def post(port: int, path: str, body: bytes, **headers: str) -> Answer:
    async with connect(port) as client:
        return await client.ask("POST", path, body, **headers)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


CHAT = "/v1/chat/completions"


def chat(model: str = "wiki", stream: bool = False, content: str = "hello") -> bytes:
    messages = [{"role": "user", "content": content}]
    return json.dumps({"model": model, "stream": stream, "messages": messages}).encode()
