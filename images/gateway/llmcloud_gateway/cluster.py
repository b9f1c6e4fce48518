"""Lists and watches collections: the only thing the gateway asks Kubernetes.

A few lines over asyncio and httptools instead of a Kubernetes client, so that the gateway's image
and memory stay small. Reads the service account's token anew for each connection, as it rotates.
"""

import asyncio
import json
import os
import random
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httptools

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONNECT_SECONDS = 10.0
_LIST_SECONDS = 30.0
_WATCH_SECONDS = 240
_KEEPALIVE = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
"""A watch whose other end is gone without a word ends within seconds: keys are revoked by it."""
_OBJECT_BYTES = 8 << 20
"""Of one line: an object is at most about 1 MiB, in JSON's escapes several times that."""


class ApiServerError(Exception):
    """The API server refused, or its answer cannot be used."""


class Backoff:
    """Growing pauses with jitter, in seconds."""

    def __init__(self, first_seconds: float = 0.5, most_seconds: float = 15.0) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._next_seconds = first_seconds

    def next_seconds(self) -> float:
        pause = self._next_seconds
        self._next_seconds = min(pause * 2, self._most_seconds)
        return pause * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next_seconds = self._first_seconds


@dataclass(frozen=True)
class Collection:
    """What is listed and watched."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ApiServer:
    """Where the API server is and who asks. `namespace` is this pod's own."""

    host: str
    port: int
    namespace: str
    token_file: Path
    ca_file: Path

    @classmethod
    def of_this_pod(cls) -> "ApiServer":
        """What Kubernetes tells every pod. ValueError outside a pod."""
        host = os.environ.get("KUBERNETES_SERVICE_HOST")
        if not host:
            raise ValueError(
                "--routes-config-map works in a pod only: KUBERNETES_SERVICE_HOST is not set. "
                "Outside a cluster use --routes FILE."
            )
        return cls(
            host=host,
            port=int(os.environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")),
            namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
            token_file=_SERVICE_ACCOUNT / "token",
            ca_file=_SERVICE_ACCOUNT / "ca.crt",
        )

    async def list(self, collection: "Collection") -> tuple[list[dict[str, Any]], str]:
        """The objects, and the version to watch from."""
        async with asyncio.timeout(_LIST_SECONDS):
            answer = b"".join([part async for part in self._get(collection.path, collection.query)])
        listed = json.loads(answer)
        return listed["items"] or [], listed["metadata"]["resourceVersion"]

    async def watch(
        self, collection: "Collection", version: str
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """(event type, object) until the watch ends. ApiServerError if it was too old."""
        query = {
            **collection.query,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        rest = b""
        async with aclosing(self._get(collection.path, query)) as parts:
            async for part in parts:
                *lines, rest = (rest + part).split(b"\n")
                if len(rest) > _OBJECT_BYTES:
                    raise ApiServerError("a watch event is too large")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiServerError(f"the watch ended: {event['object'].get('message')}")
                    yield event["type"], event["object"]

    async def _get(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """The body of one GET, part by part. A silent connection ends with TimeoutError."""
        target = f"{path}?{urlencode(query)}" if query else path
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                self.host, self.port, ssl=ssl.create_default_context(cafile=str(self.ca_file))
            )
        try:
            _keep_alive(writer)
            host = f"[{self.host}]" if ":" in self.host else self.host
            writer.write(
                f"GET {target} HTTP/1.1\r\n"
                f"host: {host}:{self.port}\r\nconnection: close\r\naccept: application/json\r\n"
                f"authorization: Bearer {self.token_file.read_text().strip()}\r\n\r\n".encode()
            )
            body = _Body()
            while not body.complete:
                async with asyncio.timeout(_WATCH_SECONDS + 15):
                    data = await reader.read(1 << 16)
                if not data:
                    raise ApiServerError("the connection ended early")
                for part in body.feed(data):
                    yield part
        finally:
            writer.close()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


class _Body:
    """The decoded body of one HTTP response of status 200."""

    def __init__(self) -> None:
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._refusal = b""

    def feed(self, data: bytes) -> list[bytes]:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ApiServerError(f"the answer is not HTTP: {error}") from None
        parts, self._parts = self._parts, []
        status = self._parser.get_status_code()
        if status == 200:
            return parts
        self._refusal += b"".join(parts)
        if self.complete or len(self._refusal) > 4096:
            said = self._refusal[:1024].decode(errors="replace")
            raise ApiServerError(f"the API server answered {status}: {said}")
        return []

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        self.complete = True
