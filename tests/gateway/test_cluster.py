"""Following the ConfigMap through an API server's list and watch, over TLS on a real socket."""

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from llmcloud.api.contract import ROUTES_CONFIG_MAP, ROUTES_KEY, RouteTable
from llmcloud_gateway.cluster import ApiServer
from llmcloud_gateway.sources import follow_config_map
from tests.gateway.conftest import eventually, route


class ApiServerDouble:
    """List and watch of one ConfigMap, with resource versions, 401, 410 and broken connections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = "first"
        self.requests: list[dict[str, str]] = []
        self._version = 1
        self._table: RouteTable | None = None
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
        self._table = table
        self._version += 1
        self._tell({"type": "MODIFIED", "object": self._config_map(table)})

    def expire(self) -> None:
        """What an API server says to a watch whose version it has forgotten."""
        self._tell({"type": "ERROR", "object": {"code": 410, "message": "too old"}})

    def _tell(self, event: dict[str, Any]) -> None:
        for writer in self._watchers:
            _chunk(writer, json.dumps(event).encode() + b"\n")

    def _config_map(self, table: RouteTable) -> dict[str, Any]:
        return {"data": {ROUTES_KEY: table.model_dump_json(by_alias=True)}}

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
            items = [] if self._table is None else [self._config_map(self._table)]
            answer = {"items": items, "metadata": {"resourceVersion": str(self._version)}}
            body = json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()


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


@asynccontextmanager
async def following(double: ApiServerDouble) -> AsyncIterator[list[list[str]]]:
    """The names of the routes of every table that was applied."""
    token_file = double.folder / "token"
    token_file.write_text("first\n")
    port = await double.start()
    server = ApiServer("127.0.0.1", port, "llmcloud", token_file, double.folder / "ca.crt")
    applied: list[list[str]] = []
    task = asyncio.create_task(
        follow_config_map(server, lambda t: applied.append([route.name for route in t.routes]))
    )
    try:
        yield applied
    finally:
        task.cancel()
        await asyncio.wait([task])
        double.stop()


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
