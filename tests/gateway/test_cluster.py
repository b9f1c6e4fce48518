"""Following routes and keys through an API server's lists and watches, over TLS on real sockets."""

import asyncio
import hashlib
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from llmcloud.api.contract import ROUTES_CONFIG_MAP, ROUTES_KEY, RouteTable
from llmcloud_gateway.cluster import ApiServer
from llmcloud_gateway.keys import Keys
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.sources import follow_config_map, follow_keys
from tests.gateway.conftest import eventually, route


class ApiServerDouble:
    """Lists and watches of one collection, with versions, 401, 410 and broken connections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = "first"
        self.requests: list[dict[str, str]] = []
        self._version = 1
        self._items: dict[str, dict[str, Any]] = {}
        self._watchers: set[asyncio.StreamWriter] = set()

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    async def start(self, port: int = 0) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "ca.crt", self.folder / "key")
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", port, ssl=context)
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        self._server.close()
        self.break_watches()

    def break_watches(self) -> None:
        for writer in self._watchers:
            writer.transport.abort()

    def serve(self, table: RouteTable) -> None:
        self.put({"metadata": {"name": ROUTES_CONFIG_MAP}, "data": {ROUTES_KEY: wire(table)}})

    def put(self, item: dict[str, Any]) -> None:
        self._items[item["metadata"]["name"]] = item
        self._version += 1
        self._tell({"type": "MODIFIED", "object": item})

    def remove(self, name: str) -> None:
        self._version += 1
        self._tell({"type": "DELETED", "object": self._items.pop(name)})

    def expire(self) -> None:
        """What an API server says to a watch whose version it has forgotten."""
        self._tell({"type": "ERROR", "object": {"code": 410, "message": "too old"}})

    def _tell(self, event: dict[str, Any]) -> None:
        for writer in self._watchers:
            _chunk(writer, json.dumps(event).encode() + b"\n")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        url = urlsplit(head.split(" ")[1])
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.requests.append({"path": url.path, **query})
        if f"authorization: Bearer {self.token}\r\n" not in head:
            writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
        elif "watch" in query:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            self._watchers.add(writer)
            await reader.read()
            self._watchers.discard(writer)
        else:
            meta = {"resourceVersion": str(self._version)}
            answer = {"items": list(self._items.values()), "metadata": meta}
            body = json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()


def wire(table: RouteTable) -> str:
    return table.model_dump_json(by_alias=True)


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    half = len(data) // 2  # an event may come in pieces
    for piece in (data[:half], data[half:]):
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and a service account's token."""
    folder = tmp_path_factory.mktemp("service-account")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test"
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {folder}/key -out {folder}/ca.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder


Follow = Callable[[ApiServer], Coroutine[Any, Any, None]]


@asynccontextmanager
async def followed(double: ApiServerDouble, follow: Follow) -> AsyncIterator[None]:
    """`follow` runs against the double."""
    token_file = double.folder / "token"
    token_file.write_text("first\n")
    port = await double.start()
    server = ApiServer("127.0.0.1", port, "llmcloud", token_file, double.folder / "ca.crt")
    task = asyncio.ensure_future(follow(server))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        double.stop()


@asynccontextmanager
async def following(double: ApiServerDouble) -> AsyncIterator[list[list[str]]]:
    """The names of the routes of every table that was applied."""
    applied: list[list[str]] = []

    def apply(table: RouteTable) -> None:
        applied.append([route.name for route in table.routes])

    async with followed(double, lambda server: follow_config_map(server, apply)):
        yield applied


def table(*names: str) -> RouteTable:
    return RouteTable(routes=[route(name=name) for name in names])


async def test_tables_are_applied_as_they_come(folder: Path) -> None:
    double = ApiServerDouble(folder)
    async with following(double) as applied:
        await eventually(lambda: double.watchers == 1)
        assert applied == []
        double.serve(table("a"))
        await eventually(lambda: applied == [["a"]])
        double.serve(table("a", "b"))
        await eventually(lambda: applied == [["a"], ["a", "b"]])
    for asked in double.requests:
        assert asked["path"] == "/api/v1/namespaces/llmcloud/configmaps"
        assert asked["fieldSelector"] == f"metadata.name={ROUTES_CONFIG_MAP}"


@pytest.mark.parametrize("trouble", ["expire", "break_watches"])
async def test_a_watch_that_ends_is_begun_again(folder: Path, trouble: str) -> None:
    double = ApiServerDouble(folder)
    double.serve(table("a"))
    async with following(double) as applied:
        await eventually(lambda: double.watchers == 1)
        getattr(double, trouble)()
        await eventually(lambda: len(double.requests) >= 4 and double.watchers == 1)
        assert applied == [["a"]], "an unchanged table was applied again"
        double.serve(table("b"))
        await eventually(lambda: applied == [["a"], ["b"]])


async def test_a_rotated_token_is_read_again(folder: Path) -> None:
    double = ApiServerDouble(folder)
    double.token = "second"
    double.serve(table("a"))
    async with following(double) as applied:
        await eventually(lambda: len(double.requests) >= 1)
        assert applied == []
        (folder / "token").write_text("second\n")
        await eventually(lambda: applied == [["a"]])


async def test_a_broken_table_is_not_applied_and_the_next_is(folder: Path) -> None:
    double = ApiServerDouble(folder)
    double.serve(table("a"))
    async with following(double) as applied:
        await eventually(lambda: double.watchers == 1)
        double._tell({"type": "MODIFIED", "object": {"data": {ROUTES_KEY: "{"}}})
        await eventually(lambda: len(double.requests) >= 4 and double.watchers == 1)
        double.serve(table("b"))
        await eventually(lambda: applied == [["a"], ["b"]])


def key_object(name: str, sha256: str = "", **metadata: Any) -> dict[str, Any]:
    """An LLMAccessKey as an API server gives it; the key itself is the object's name."""
    digest = sha256 or hashlib.sha256(name.encode()).hexdigest()
    times = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    meta = {"namespace": "team-a", "name": name, **times, **metadata}
    return {"metadata": meta, "spec": {"sha256": digest, "disabled": False}}


def opened(keys: Keys, *names: str) -> list[str]:
    """Which of these keys open something."""
    return [
        name
        for name in names
        if keys.presented({b"authorization": b"Bearer " + name.encode()}).opening(route())
    ]


@pytest.mark.parametrize(
    ("namespace", "path"),
    [
        (None, "/apis/llmcloud.dev/v1alpha1/llmaccesskeys"),
        ("team-a", "/apis/llmcloud.dev/v1alpha1/namespaces/team-a/llmaccesskeys"),
    ],
)
async def test_keys_come_and_go_as_they_are_applied(
    folder: Path, namespace: str | None, path: str
) -> None:
    double, keys = ApiServerDouble(folder), Keys(time.time, Limits())
    double.put(key_object("a"))
    async with followed(double, lambda server: follow_keys(server, namespace, keys)):
        await eventually(lambda: double.watchers == 1)
        assert (keys.loaded, opened(keys, "a", "b")) == (True, ["a"])
        double.put(key_object("b"))
        await eventually(lambda: opened(keys, "a", "b") == ["a", "b"])
        double.remove("a")
        await eventually(lambda: opened(keys, "a", "b") == ["b"])
        double.put(key_object("b", deletionTimestamp="2026-02-01T00:00:00Z"))
        await eventually(lambda: opened(keys, "a", "b") == [])
    assert {asked["path"] for asked in double.requests} == {path}


async def test_what_a_watch_has_missed_is_in_the_next_list(folder: Path) -> None:
    double, keys = ApiServerDouble(folder), Keys(time.time, Limits())
    double.put(key_object("a"))
    double.put(key_object("b"))
    async with followed(double, lambda server: follow_keys(server, None, keys)):
        await eventually(lambda: opened(keys, "a", "b") == ["a", "b"])
        await eventually(lambda: double.watchers == 1)
        del double._items["a"]
        double.expire()
        await eventually(lambda: opened(keys, "a", "b") == ["b"])


async def test_a_key_that_cannot_be_read_opens_nothing_and_stops_no_other(folder: Path) -> None:
    double, keys = ApiServerDouble(folder), Keys(time.time, Limits())
    double.put(key_object("a", sha256="short"))
    double.put(key_object("b"))
    async with followed(double, lambda server: follow_keys(server, None, keys)):
        await eventually(lambda: opened(keys, "b") == ["b"])
        await eventually(lambda: double.watchers == 1)
        double.put(key_object("b", sha256="short"))
        await eventually(lambda: opened(keys, "b") == [])
        double.put(key_object("a"))
        await eventually(lambda: opened(keys, "a", "b") == ["a"])
