"""A client's load: chat requests at a set rate, every other one a stream, every answer checked.

Nothing is sent twice: what fails, failed. The answers are those of the image test-engine, word i of
which is "PROMPT:i ".
"""

import asyncio
import json
import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

REQUEST_SECONDS = 300.0
POLL_SECONDS = 0.02


@dataclass
class Seen:
    """One request. Times are of time.monotonic()."""

    prompt: str
    tokens: int
    stream: bool
    began: float
    ended: float = 0.0
    first_token: float = 0.0
    """Of a stream; 0 before it."""
    comments: int = 0
    """Of a stream that was kept alive before its first token."""
    engine: str = ""
    """version@pod that answered."""
    problem: str = ""
    """Empty: it was answered, whole and as it should be."""

    @property
    def text(self) -> str:
        """What the whole answer must be."""
        return "".join(f"{self.prompt}:{number} " for number in range(self.tokens))


class Load:
    """`rate` may be set at any time, in requests per second. Runs in a thread of its own; leaving
    waits for what `rate` has sent, not for what `ask` has.
    """

    def __init__(
        self, url: str, model: str, *, tokens: tuple[int, int], seed: int, key: str = "unused"
    ) -> None:
        """`tokens`: of a whole answer, and of a stream."""
        self._url = f"{url}/v1/chat/completions"
        self._model = model
        self._tokens = tokens
        self._dice = random.Random(seed)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._stopping = False
        self._pool = ThreadPoolExecutor(1, "load")
        self._loop: asyncio.AbstractEventLoop
        self._kept: aiohttp.ClientSession
        self._fresh: aiohttp.ClientSession
        self.rate = 0.0
        self.seen: list[Seen] = []
        """What `rate` sent and has ended."""
        self.in_flight: list[Seen] = []
        """Of `rate` and of `ask`."""

    def __enter__(self) -> Self:
        running: Future[None] = Future()
        self._thread = self._pool.submit(lambda: asyncio.run(self._run(running)))
        running.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        self._thread.result()
        self._pool.shutdown()

    @property
    def failed(self) -> list[Seen]:
        """Of those that `rate` sent."""
        return [seen for seen in self.seen if seen.problem]

    def ask(self, *, stream: bool, tokens: int, fresh: bool = False) -> Future[Seen]:
        """One request now, beside the rate; `fresh`: on a connection of its own."""
        session = self._fresh if fresh else self._kept
        request = self._ask(session, f"asked-{self._dice.getrandbits(32):x}", stream, tokens)
        return asyncio.run_coroutine_threadsafe(request, self._loop)

    async def _run(self, running: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        options: dict[str, Any] = {"timeout": timeout, "headers": self._headers}
        kept, fresh = aiohttp.TCPConnector(limit=0), aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            aiohttp.ClientSession(connector=kept, **options) as self._kept,
            aiohttp.ClientSession(connector=fresh, **options) as self._fresh,
            asyncio.TaskGroup() as group,
        ):
            running.set_result(None)
            await self._arrive(group)

    async def _arrive(self, group: asyncio.TaskGroup) -> None:
        """Poisson arrivals; lateness is made up for."""
        number, due = 0, time.monotonic()
        while not self._stopping:
            rate, now = self.rate, time.monotonic()
            if rate <= 0:
                due = now
            while rate > 0 and due <= now:
                group.create_task(self._one(number))
                number += 1
                due += self._dice.expovariate(rate)
            await asyncio.sleep(min(max(due - now, 0.001), POLL_SECONDS))

    async def _one(self, number: int) -> None:
        stream = number % 2 == 1
        prompt = f"request-{number}"
        self.seen.append(await self._ask(self._kept, prompt, stream, self._tokens[stream]))

    async def _ask(
        self, session: aiohttp.ClientSession, prompt: str, stream: bool, tokens: int
    ) -> Seen:
        seen = Seen(prompt, tokens, stream, time.monotonic())
        self.in_flight.append(seen)
        messages = [{"role": "user", "content": prompt}]
        body = {"model": self._model, "messages": messages, "max_tokens": tokens, "stream": stream}
        try:
            async with session.post(self._url, json=body) as response:
                if response.status != 200:
                    said = await response.text()
                    seen.problem = f"{response.status}: {said:.300}"
                elif stream:
                    seen.problem = await _read_stream(response.content, seen)
                else:
                    seen.problem = _judge(await response.json(), seen)
        except (aiohttp.ClientError, OSError, ValueError, LookupError) as error:
            seen.problem = repr(error)
        finally:
            seen.ended = time.monotonic()
            self.in_flight.remove(seen)
        return seen


def _judge(answer: dict[str, Any], seen: Seen) -> str:
    """What is wrong with a whole answer; empty: nothing."""
    seen.engine = answer["system_fingerprint"]
    (choice,) = answer["choices"]
    if choice["finish_reason"] != "length" or choice["message"]["content"] != seen.text:
        return f"another answer: {choice}"
    if answer["usage"]["completion_tokens"] != seen.tokens:
        return f"another usage: {answer['usage']}"
    return ""


async def _read_stream(content: aiohttp.StreamReader, seen: Seen) -> str:
    """What is wrong with a stream; empty: it came whole, in order, and ended as it must."""
    words: list[str] = []
    finished = ""
    async for line in content:
        text = line.decode().rstrip("\n")
        if not text or text.startswith(":"):
            seen.comments += text.startswith(":")
            continue
        data = text.removeprefix("data: ")
        if finished == "done" or data == text:
            return f"more than was to come: {text}"
        if data == "[DONE]":
            finished = "done" if finished == "length" else f"done after {finished!r}"
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            return str(chunk["error"])
        seen.engine = chunk["system_fingerprint"]
        (choice,) = chunk["choices"]
        if "content" in choice["delta"]:
            seen.first_token = seen.first_token or time.monotonic()
            words.append(choice["delta"]["content"])
        finished = choice["finish_reason"] or finished
    if finished != "done" or "".join(words) != seen.text:
        return f"{len(words)} of {seen.tokens} words, ended {finished!r}"
    return ""


def percentile(values: list[float], percent: float) -> float:
    """By the nearest rank; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
