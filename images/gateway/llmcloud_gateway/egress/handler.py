"""One request of a gateway, asked of the provider under the pod's key."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llmcloud.api.external import EgressTask
from llmcloud_gateway.egress.budget import Budget
from llmcloud_gateway.egress.dialects import PATHS, Target, key_header, target
from llmcloud_gateway.egress.google import AccessTokens
from llmcloud_gateway.egress.outgoing import outgoing
from llmcloud_gateway.egress.provider import AddressForbidden, Network, ProviderPool
from llmcloud_gateway.errors import (
    ENGINE_ERROR_BYTES,
    GatewayError,
    engine_error_body,
    not_found,
)
from llmcloud_gateway.request import Request
from llmcloud_gateway.response import Response
from llmcloud_gateway.upstream import EngineBroke, EngineUnreachable
from llmcloud_gateway.usage import Usage, WithoutUsage

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
FIRST_BYTE_SECONDS = 600.0
TOKEN_SECONDS = 30.0
_RELAYED = (b"content-type", b"retry-after")


class Egress:
    """The handler of the port that gateways call."""

    def __init__(
        self,
        task: EgressTask,
        key_file: Path,
        budget: Budget,
        tls: ssl.SSLContext,
        allowed: Sequence[Network],
    ) -> None:
        self._external = task.external
        self._key_file = key_file
        self._budget = budget
        self._tls = tls
        self._allowed = allowed
        self._pools: dict[tuple[str, int], ProviderPool] = {}
        self._tokens = AccessTokens(key_file, self._post)

    def problem(self) -> str:
        """Why this pod cannot work; empty if it can."""
        if self._external.api_key_secret_ref is None:
            return ""
        try:
            return "" if self._key() else "the key is empty"
        except OSError as error:
            return f"the key cannot be read: {error.strerror}"

    def close(self) -> None:
        """Closes idle connections."""
        for pool in self._pools.values():
            pool.close()

    async def handle(self, request: Request, response: Response) -> None:
        path = request.target.decode("latin-1").partition("?")[0]
        if request.method != b"POST" or path not in PATHS:
            raise not_found(path)
        asked = outgoing(self._external, path, request.body)
        most = asked.most_tokens
        day = await self._budget.reserve(most)
        answer = _Answer(response, hides_usage=asked.hides_usage)
        try:
            await self._ask(target(self._external, path), request.id, asked.body, answer)
        finally:
            self._budget.settle(day, most, answer.tokens(most))
        if answer.status in (401, 403):
            self._tokens.forget()
            raise GatewayError(
                502,
                "ProviderRefusedKey",
                f"The provider of {self._external.model!r} answered {answer.status}: its key is "
                "wrong, expired, or not allowed to use this model. Whoever owns the deployment "
                "has to correct the Secret that external.apiKeySecretRef names.",
            )
        answer.end()

    async def _ask(self, where: Target, id_: bytes, body: bytes, answer: "_Answer") -> None:
        headers = {"content-type": "application/json", "x-request-id": id_.decode()}
        presented = key_header(self._external, await self._secret())
        if presented is not None:
            headers[presented[0]] = presented[1]
        try:
            await self._exchange(where, headers, body, answer, FIRST_BYTE_SECONDS)
        except TimeoutError:
            raise _unreachable(where, "it does not answer") from None
        except EngineBroke as error:
            if not answer.began:
                raise _unreachable(where, str(error)) from None
            log.warning("%s broke off its answer: %s", where.host, error)
            raise GatewayError(
                502, "ProviderBroke", "The provider broke off its answer. Send the request again."
            ) from None

    async def _exchange(
        self, where: Target, headers: dict[str, str], body: bytes, sink: Any, seconds: float
    ) -> None:
        """Once more on a new connection if an idle one was closed meanwhile."""
        pool = self._pools.setdefault(
            (where.host, where.port),
            ProviderPool(where, self._tls, self._allowed, CONNECT_SECONDS, IDLE_SECONDS),
        )
        head = _head(where, headers, body)
        fresh = False
        while True:
            try:
                connection = await pool.take(fresh=fresh)
                done = False
                try:
                    sink.attach(connection.transport)
                    sink.sent = True
                    async with asyncio.timeout(seconds) as limit:
                        sink.on_first = lambda: limit.reschedule(None)
                        await connection.exchange([head, body], sink)
                    done = True
                finally:
                    sink.attach(None)
                    if done:
                        pool.give_back(connection)
                    else:
                        connection.drop()
                return
            except AddressForbidden as error:
                raise GatewayError(502, "AddressForbidden", f"{error}.") from None
            except EngineUnreachable as error:
                if not error.stale or fresh:
                    raise _unreachable(where, str(error)) from None
                fresh = True

    async def _post(self, where: Target, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        whole = _Whole()
        try:
            await self._exchange(where, headers, body, whole, TOKEN_SECONDS)
        except (TimeoutError, EngineBroke):
            raise _unreachable(where, "it does not answer") from None
        return whole.status, bytes(whole.body)

    def _key(self) -> str:
        return self._key_file.read_text().strip()

    async def _secret(self) -> str:
        if self._external.api_key_secret_ref is None:
            return ""
        if self._external.provider == "vertex-ai":
            return await self._tokens.get()
        problem = self.problem()
        if problem:
            raise GatewayError(502, "ProviderRefusedKey", f"{problem.capitalize()}.")
        key = self._key()
        if not key.isascii() or not key.isprintable():
            raise GatewayError(502, "ProviderRefusedKey", "The key holds characters no key has.")
        return key


def _head(where: Target, headers: dict[str, str], body: bytes) -> bytes:
    host = f"[{where.host}]" if ":" in where.host else where.host
    port = "" if where.port == 443 else f":{where.port}"
    lines = [
        f"POST {where.path or '/'} HTTP/1.1",
        f"host: {host}{port}",
        "accept-encoding: identity",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _unreachable(where: Target, why: str) -> GatewayError:
    return GatewayError(
        502,
        "ProviderUnreachable",
        f"{where.host} gave no answer: {why}. Try again.",
        retry_after_seconds=5,
    )


class _Whole:
    """Keeps an answer that is small."""

    def __init__(self) -> None:
        self.sent = False
        self.status = 0
        self.body = bytearray()
        self.on_first: Callable[[], None] = lambda: None

    def attach(self, source: asyncio.Transport | None) -> None:
        """Nothing slows it down."""

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        self.status = status

    def on_data(self, data: bytes) -> None:
        if len(self.body) < ENGINE_ERROR_BYTES:
            self.body += data

    def flush(self) -> None:
        """It is read at the end."""


class _Answer(_Whole):
    """Passes a provider's answer on as it comes. Errors are kept, to be told in OpenAI's words."""

    def __init__(self, response: Response, *, hides_usage: bool) -> None:
        super().__init__()
        self._response = response
        self._hider = WithoutUsage() if hides_usage else None
        self._usage = Usage()
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def began(self) -> bool:
        return self._response.started

    def attach(self, source: asyncio.Transport | None) -> None:
        self._response.attach(source)

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        self.on_first()
        self.status = status
        self._headers = [(name, value) for name, value in headers if name in _RELAYED]
        if status == 200:
            self._response.start(status, self._headers, length)

    def on_data(self, data: bytes) -> None:
        if self.status != 200:
            super().on_data(data)
            return
        self._usage.feed(data)
        self._response.write(data if self._hider is None else self._hider.feed(data))

    def flush(self) -> None:
        self._response.flush()

    def tokens(self, most: int) -> int:
        """What the request took: by the provider's count, else the most that it may have.

        Nothing where the provider was not reached, or refused.
        """
        if not self.sent:
            return 0
        if self.status != 200:
            return 0 if self.status else most
        given, made = self._usage.tokens()
        return given + made if given else most

    def end(self) -> None:
        """The answer came whole."""
        if self.status == 200:
            if self._hider is not None:
                self._response.write(self._hider.end())
            self._response.end()
            return
        status = self.status if self.status >= 400 else 502
        body = engine_error_body(status, bytes(self.body[:ENGINE_ERROR_BYTES]))
        kept = [header for header in self._headers if header[0] == b"retry-after"]
        self._response.send(status, body, headers=kept)
