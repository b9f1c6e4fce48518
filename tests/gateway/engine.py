"""An engine on a real socket, for the gateway's tests: OpenAI's dialect over HTTP/1.1 and SSE.

It does what a test tells it to: answer, wait for a permit before every chunk, or break in the ways
engines break. It keeps what it was asked.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal["reset", "half", "garbage", "refusal", "failure"]


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Engine:
    """Answers `text` cut into its words; every answer says the engine's `name`."""

    name: str = "engine"
    text: str = "one two three"
    fault: Fault | None = None
    reason: str = ""
    """Of errors, as egress pods tell it."""
    tells_usage: bool = True
    """In the last chunk of every stream; else, as vLLM, in one of its own to who asks for it."""
    permits: asyncio.Semaphore | None = None
    """With permits, a chunk (or a whole answer) is sent only when the test releases one."""
    asked: list[Asked] = field(default_factory=list)
    answering: int = 0
    most_answering: int = 0
    abandoned: int = 0
    """Answers whose client left."""
    connections: int = 0
    endpoint: str = ""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, port: int = 0) -> "Engine":
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", port)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def stop(self) -> None:
        self._server.close()
        if not self._writers:
            self._quiet.set()
        for writer in list(self._writers):
            writer.transport.abort()
        async with asyncio.timeout(5):
            await self._quiet.wait()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._quiet.clear()
        self._writers.add(writer)
        try:
            while True:
                asked = await _read_request(reader)
                self.asked.append(asked)
                self.answering += 1
                self.most_answering = max(self.most_answering, self.answering)
                try:
                    if not await self._answer_or_leave(asked, reader, writer):
                        return
                finally:
                    self.answering -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            if not self._writers:
                self._quiet.set()
            writer.close()

    async def _answer_or_leave(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answers, but stops at once when the client leaves. True: the connection lives on."""
        answer = asyncio.ensure_future(self._answer(asked, writer))
        left = asyncio.ensure_future(reader.read(1))
        await asyncio.wait([answer, left], return_when=asyncio.FIRST_COMPLETED)
        answer.cancel()
        left.cancel()
        alive, _ = await asyncio.gather(answer, left, return_exceptions=True)
        if isinstance(alive, bool):
            return alive
        self.abandoned += 1
        return False

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        wanted = json.loads(asked.body)
        if self.fault == "reset":
            writer.transport.abort()
            return False
        if self.fault == "garbage":
            writer.write(b"NOT HTTP AT ALL\r\n\r\n")
            return False
        if self.fault == "refusal":
            self._whole(writer, 422, {"detail": "no such field"})
            return True
        if self.fault == "failure":
            self._whole(writer, 500, {"detail": "out of memory"})
            return True
        if wanted.get("stream"):
            return await self._stream(wanted, writer)
        await self._permit()
        self._whole(writer, 200, self._completion(wanted, asked.path))
        return True

    async def _permit(self) -> None:
        if self.permits is not None:
            await self.permits.acquire()

    async def _stream(self, wanted: dict[str, object], writer: asyncio.StreamWriter) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"openai-model: %s\r\nserver: test\r\ntransfer-encoding: chunked\r\n\r\n"
            % self.name.encode()
        )
        for number, word in enumerate(self.text.split()):
            await self._permit()
            _event(writer, self._chunk(wanted, word + " "))
            await writer.drain()
            if self.fault == "half" and number == 1:
                writer.transport.abort()
                return False
        _event(writer, self._chunk(wanted, None, usage=self.tells_usage))
        options = wanted.get("stream_options")
        if not self.tells_usage and isinstance(options, dict) and options.get("include_usage"):
            usage = {"choices": [], "usage": self._usage()}
            _event(writer, self._base(wanted, "chat.completion.chunk") | usage)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _chunk(
        self, wanted: dict[str, object], word: str | None, usage: bool = False
    ) -> dict[str, object]:
        delta = {} if word is None else {"role": "assistant", "content": word}
        choice = {"index": 0, "delta": delta, "finish_reason": None if word else "stop"}
        chunk = self._base(wanted, "chat.completion.chunk") | {"choices": [choice]}
        return chunk | ({"usage": self._usage()} if usage else {})

    def _completion(self, wanted: dict[str, object], path: str) -> dict[str, object]:
        choice: dict[str, object] = {"index": 0, "finish_reason": "stop"}
        if path.endswith("/chat/completions"):
            choice["message"] = {"role": "assistant", "content": self.text}
            kind = "chat.completion"
        else:
            choice["text"] = self.text
            kind = "text_completion"
        return self._base(wanted, kind) | {"choices": [choice], "usage": self._usage()}

    def _base(self, wanted: dict[str, object], kind: str) -> dict[str, object]:
        common = {"id": "x", "created": 1, "model": wanted["model"]}
        return common | {"object": kind, "system_fingerprint": self.name}

    def _usage(self) -> dict[str, int]:
        words = len(self.text.split())
        return {"prompt_tokens": 7, "completion_tokens": words, "total_tokens": 7 + words}

    def _told(self) -> bytes:
        return f"x-llmcloud-reason: {self.reason}\r\n".encode() if self.reason else b""

    def _whole(self, writer: asyncio.StreamWriter, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\nopenai-model: %s\r\n"
            b"%scontent-length: %d\r\n\r\n%s"
            % (status, self.name.encode(), self._told(), len(data), data)
        )


def _event(writer: asyncio.StreamWriter, chunk: dict[str, object]) -> None:
    data = b"data: %s\n\n" % json.dumps(chunk).encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def _read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(first.split(" ")[1], headers, body)
