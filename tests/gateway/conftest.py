"""A gateway in the test's own event loop, on real sockets, and engines for it to route to."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from llmcloud.api.accesskey import AccessKeyRecord
from llmcloud.api.contract import Route, RouteSample, RouteTable
from llmcloud_gateway.gateway import Gateway
from llmcloud_gateway.keys import Keys
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.metrics import Metrics
from llmcloud_gateway.report import Report
from llmcloud_gateway.routes import Routes
from llmcloud_gateway.server import Server
from llmcloud_gateway.traces import Traces
from tests.contract.certificates import write_certificate
from tests.gateway.client import get
from tests.gateway.egress_pod import Pod
from tests.gateway.engine import Engine
from tests.gateway.providers import listen


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class RunningGateway:
    """Both ports of one gateway, and the table it serves."""

    def __init__(
        self,
        limits: Limits,
        wall_clock: Callable[[], float] = time.time,
        name: str = "gateway",
        traces: Traces | None = None,
    ) -> None:
        self.routes = Routes(limits, asyncio.get_running_loop().time)
        self.keys = Keys(wall_clock, limits, name)
        gateway = Gateway(self.routes, self.keys, limits, traces)
        self.clients = Server(gateway.handle, limits, gateway.screen)
        metrics = Metrics(self.routes, self.clients)
        report = Report(self.routes, self.keys, metrics, lambda: self.clients.draining)
        self.reports = Server(report.handle, limits)
        self.port = 0
        self.report_port = 0

    async def start(self) -> None:
        self.port = await self.clients.start(0, "127.0.0.1")
        self.report_port = await self.reports.start(0, "127.0.0.1")

    async def stop(self) -> None:
        await self.clients.drain(0)
        await self.reports.drain(0)

    def serve(self, *routes: Route, keys: Iterable[AccessKeyRecord] = ()) -> None:
        self.routes.apply(RouteTable(routes=list(routes)))
        self.keys.replace(keys)

    async def sample(self, name: str = "wiki") -> RouteSample:
        answer = await get(self.report_port, "/samples")
        samples = [RouteSample.model_validate(sample) for sample in answer.json["samples"]]
        return next(sample for sample in samples if sample.name == name)

    async def metric(self, name: str, **labels: str) -> float | None:
        """The value of the first series of that name that has those labels."""
        text = (await get(self.report_port, "/metrics")).body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"llmcloud_gateway_{name}" and labels.items() <= (
                    sample.labels.items()
                ):
                    return float(sample.value)
        return None


def route(*engines: Engine | str, name: str = "wiki", **changes: Any) -> Route:
    endpoints = [engine if isinstance(engine, str) else engine.endpoint for engine in engines]
    values: dict[str, Any] = {
        "namespace": "team-a",
        "name": name,
        "model": name,
        "shared": True,
        "anonymous": True,
        "endpoints": endpoints,
        "in_flight_per_replica": 16,
        "hold_max_requests": 64,
        "hold_deadline_seconds": 30,
        "created": 1,
    }
    return Route(**(values | changes))


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for a condition of the test's own process; TimeoutError names nothing but the line."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


StartGateway = Callable[..., Coroutine[Any, Any, RunningGateway]]
StartEngine = Callable[..., Coroutine[Any, Any, Engine]]


@pytest.fixture
async def started() -> AsyncIterator[AsyncExitStack]:
    """What a test starts; it fails if a callback of the event loop raised."""
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    async with AsyncExitStack() as stack:
        yield stack
    assert raised == []


@pytest.fixture
def start_gateway(started: AsyncExitStack) -> StartGateway:
    async def start(
        *routes: Route,
        wall_clock: Callable[[], float] = time.time,
        name: str = "gateway",
        traces: Traces | None = None,
        **limits: float,
    ) -> RunningGateway:
        gateway = RunningGateway(
            Limits(**limits),  # type: ignore[arg-type]
            wall_clock,
            name,
            traces,
        )
        await gateway.start()
        started.push_async_callback(gateway.stop)
        gateway.serve(*routes)
        return gateway

    return start


@pytest.fixture
def start_engine(started: AsyncExitStack) -> StartEngine:
    async def start(name: str = "engine", **how: Any) -> Engine:
        engine = await Engine(name, **how).start()
        started.push_async_callback(engine.stop)
        return engine

    return start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def pod(tmp_path: Path, certificate: tuple[Path, Path]) -> Pod:
    return Pod(tmp_path, certificate[0])


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.fixture
def start(stack: AsyncExitStack, certificate: tuple[Path, Path]) -> Any:
    async def begin(provider: Any) -> Any:
        runner, provider.port = await listen(provider.handle, certificate)
        stack.push_async_callback(runner.cleanup)
        return provider

    return begin
