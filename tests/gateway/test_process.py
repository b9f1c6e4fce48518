"""The gateway as a process of its own: its options, its file of routes, its signals."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from llmcloud.api.contract import ExitCode, Route, RouteTable
from tests.gateway.client import CHAT, chat, connect, get, post, request
from tests.gateway.conftest import StartEngine, eventually, route


def write_table(path: Path, *routes: Route) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(RouteTable(routes=list(routes)).model_dump_json(by_alias=True))
    fresh.replace(path)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def spawn(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmcloud_gateway", *arguments, stderr=asyncio.subprocess.PIPE
    )


class Running:
    def __init__(self, table: Path) -> None:
        self.table = table
        self.port = free_port()
        self.report_port = free_port()
        self.process: asyncio.subprocess.Process

    async def start(self, *options: str) -> None:
        ports = ("--port", str(self.port), "--report-port", str(self.report_port))
        self.process = await spawn(*ports, "--routes", str(self.table), *options)
        async with asyncio.timeout(15):
            while True:
                if await self.is_ready():
                    return
                await asyncio.sleep(0.05)

    async def goes(self) -> None:
        """Waits until it says that it drains."""
        while True:
            if not await self.is_ready():
                return
            await asyncio.sleep(0.01)

    async def is_ready(self) -> bool:
        try:
            return (await get(self.report_port, "/ready")).status == 200
        except OSError:
            return False


@asynccontextmanager
async def running(table: Path, *options: str) -> AsyncIterator[Running]:
    gateway = Running(table)
    try:
        await gateway.start(*options)
        yield gateway
    finally:
        if gateway.process.returncode is None:
            gateway.process.kill()
        await gateway.process.communicate()


async def test_the_table_may_change_under_load_and_no_request_is_lost(
    tmp_path: Path, start_engine: StartEngine
) -> None:
    engines = [await start_engine(name) for name in "abc"]
    table = tmp_path / "routes.json"
    write_table(table, route(engines[0]))
    stop = asyncio.Event()
    statuses: list[int] = []

    async def load(port: int, stream: bool) -> None:
        async with connect(port) as client:
            while not stop.is_set():
                answer = await client.ask("POST", CHAT, chat(stream=stream))
                assert not stream or answer.body.count(b"data: {") == 4
                statuses.append(answer.status)

    async with running(table) as gateway:
        clients = [asyncio.create_task(load(gateway.port, n % 2 == 0)) for n in range(8)]
        for chosen in ([1], [], [2], [0, 1, 2]):
            write_table(table, route(*[engines[n] for n in chosen]))
            await asyncio.sleep(1.2)
        stop.set()
        await asyncio.gather(*clients)
    assert set(statuses) == {200}
    assert len(statuses) > 100
    assert all(engine.asked for engine in engines)


async def test_an_unreadable_table_leaves_the_last_one_in_force(
    tmp_path: Path, start_engine: StartEngine
) -> None:
    table = tmp_path / "routes.json"
    write_table(table, route(await start_engine()))
    async with running(table) as gateway:
        table.write_text("{ not JSON")
        await asyncio.sleep(1.2)
        assert (await post(gateway.port, CHAT, chat())).status == 200
        table.unlink()
        await asyncio.sleep(1.2)
        assert (await post(gateway.port, CHAT, chat())).status == 200
        write_table(table)
        await asyncio.sleep(1.5)
        assert (await post(gateway.port, CHAT, chat())).status == 404


async def test_sigterm_lets_a_stream_end_and_refuses_new_connections(
    tmp_path: Path, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(1)
    engine = await start_engine(permits=permits)
    table = tmp_path / "routes.json"
    write_table(table, route(engine))
    async with (
        running(table) as gateway,
        connect(gateway.port) as client,
        connect(gateway.port) as idle,
    ):
        await idle.ask("GET", "/healthz")
        client.send(request("POST", CHAT, chat(stream=True)))
        await client.head()
        await client.chunk()
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.goes()
        try:
            await get(gateway.port, "/healthz")
        except OSError:
            pass
        else:
            raise AssertionError("a draining gateway still accepts connections")
        for _ in range(3):
            permits.release()
        assert b"".join(await client.chunks()).count(b"data: {") == 3
        assert await idle.closed()
        assert await client.closed()
        assert await gateway.process.wait() == ExitCode.OK


async def test_a_drain_ends_at_its_deadline(tmp_path: Path, start_engine: StartEngine) -> None:
    engine = await start_engine(permits=asyncio.Semaphore(1))
    table = tmp_path / "routes.json"
    write_table(table, route(engine))
    async with running(table, "--drain-seconds", "0.5") as gateway, connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat(stream=True)))
        await client.head()
        gateway.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(gateway.process.wait(), 5) == ExitCode.OK
    await eventually(lambda: engine.abandoned == 1)


async def test_outside_a_pod_the_config_map_is_refused_with_the_remedy() -> None:
    process = await spawn("--routes-config-map")
    _, said = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == ExitCode.CONFIGURATION
    assert b"--routes FILE" in said
