"""Providers of our own, on loopback behind TLS: each speaks one dialect and checks it strictly.

What is not exactly as the provider documents it is refused with 4xx, as the provider would; so a
200 proves path, query, headers and body.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from llmcloud_gateway.egress.google import GRANT, SCOPE

KEY = "sk-of-the-tenant"
GRANTED = "ya29.granted"
EMAIL = "caller@team-a.iam.gserviceaccount.com"
MODEL = "big-one"
WORDS = ("one", "two", "three")
_GENERATION = {"model", "stream", "stream_options", "n", "seed", "max_tokens"}
MEMBERS = {
    "chat/completions": {*_GENERATION, "messages", "max_completion_tokens"},
    "completions": {*_GENERATION, "prompt", "best_of"},
    "embeddings": {"model", "input", "dimensions", "encoding_format", "user"},
}
"""What OpenAI documents for each endpoint, as far as the tests use it; others are refused."""


def refuse(status: int, why: str) -> web.Response:
    return web.json_response({"error": {"message": why, "code": None}}, status=status)


@dataclass
class Provider:
    """One https server. `path` is what it answers on, `headers` what it insists on."""

    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ("x-api-key", "cookie", "x-forwarded-for")
    """Headers that must not come."""
    unknown: tuple[str, ...] = ()
    """Members that this model or version does not take, though the endpoint's document has them."""
    status: int = 200
    usage: bool = True
    """Told in a stream only to who asks for it."""
    permits: asyncio.Semaphore | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    port: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.connections.add(request.transport)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        body = await request.json()
        if body.get("model") != MODEL:
            return refuse(404, f"the model {body.get('model')} does not exist")
        if problem := self._problem(body):
            return refuse(400, problem)
        self.asked.append(body)
        if self.permits is not None:
            await self.permits.acquire()
        if self.status != 200:
            answer = refuse(self.status, "not now")
            answer.headers["retry-after"] = "7"
            return answer
        return await self._answer(request, body)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if request.path != self.path or dict(request.query) != self.query:
            return refuse(404, f"nothing is at {request.path_qs}")
        for name, value in self.headers.items():
            if request.headers.getall(name, []) != [value]:
                return refuse(401, f"Incorrect API key provided: {request.headers.get(name)}")
        if extra := [name for name in self.foreign if name in request.headers]:
            return refuse(400, f"{extra} came")
        if request.headers.get("content-type") != "application/json":
            return refuse(415, "it is not JSON")
        if request.headers["host"] != f"127.0.0.1:{self.port}":
            return refuse(421, "another host was meant")
        return None

    @property
    def _endpoint(self) -> str:
        return next(name for name in MEMBERS if self.path.endswith(f"/{name}"))

    def _problem(self, body: dict[str, Any]) -> str:
        known = MEMBERS[self._endpoint].difference(self.unknown)
        if strange := sorted(body.keys() - known):
            return f"Unrecognized request argument supplied: {strange[0]}"
        if "max_tokens" in body and "max_completion_tokens" in body:
            return "max_tokens and max_completion_tokens exclude each other"
        if "stream_options" in body and not body.get("stream"):
            return "stream_options is for streams only"
        needed = {
            "chat/completions": "messages",
            "completions": "prompt",
            "embeddings": "input",
        }[self._endpoint]
        return "" if isinstance(body.get(needed), str | list) else f"{needed} is missing"

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        usage = {"usage": {"prompt_tokens": 5, "completion_tokens": 3}} if self.usage else {}
        if self._endpoint == "embeddings":
            made = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            return web.json_response({"data": made, "usage": {"prompt_tokens": 5}})
        if not body.get("stream"):
            message = {"role": "assistant", "content": " ".join(WORDS)}
            chat = self._endpoint == "chat/completions"
            choice = {"message": message} if chat else {"text": message["content"]}
            return web.json_response({"choices": [choice], **usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for word in WORDS:
            chunk = {"choices": [{"delta": {"content": word}}]}
            await response.write(b"data: %s\n\n" % json.dumps(chunk).encode())
        if usage and (body.get("stream_options") or {}).get("include_usage"):
            last = json.dumps({"choices": [], **usage}).encode()
            await response.write(b"data: %s\n\n" % last)
        await response.write(b"data: [DONE]\n\n")
        return response


class Google:
    """A service account's key file, and the endpoint that gives access tokens for it."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.given = 0
        self.seconds = 3600
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/token"

    def key_file(self) -> str:
        private = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return json.dumps(
            {
                "type": "service_account",
                "client_email": EMAIL,
                "private_key": private.decode(),
                "private_key_id": "1",
                "token_uri": self.url,
            }
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if request.path != "/token" or form.get("grant_type") != GRANT:
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        try:
            claims = jwt.decode(  # type: ignore[no-untyped-call]
                str(form["assertion"]), certs=public, audience=self.url
            )
        except ValueError as error:
            return web.json_response({"error": "invalid_grant", "why": str(error)}, status=400)
        if (claims["iss"], claims["scope"]) != (EMAIL, SCOPE):
            return web.json_response({"error": "invalid_scope"}, status=400)
        self.given += 1
        answer = {"access_token": GRANTED, "expires_in": self.seconds, "token_type": "Bearer"}
        return web.json_response(answer)


Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def listen(handle: Handle, certificate: tuple[Path, Path]) -> tuple[web.ServerRunner, int]:
    """Serve `handle` on a free port of loopback until the runner's cleanup."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await handle(request)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner, int(runner.addresses[0][1])
