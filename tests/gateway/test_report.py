"""The report port: what the operator, Prometheus and the kubelet see."""

import asyncio

from llmcloud_gateway.limits import Limits
from tests.gateway.client import CHAT, chat, get, post
from tests.gateway.conftest import RunningGateway, StartEngine, StartGateway, eventually, route


async def test_it_is_ready_once_it_has_routes_and_until_it_drains() -> None:
    gateway = RunningGateway(Limits())
    await gateway.start()
    assert (await get(gateway.report_port, "/healthz")).status == 200
    assert (await get(gateway.report_port, "/ready")).status == 503
    answer = await post(gateway.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (503, "RoutesNotLoaded")
    gateway.serve()
    assert (await get(gateway.report_port, "/ready")).status == 200
    gateway.clients.draining = True
    assert (await get(gateway.report_port, "/ready")).status == 503
    await gateway.stop()


async def test_an_idle_route_says_for_how_long(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()), route(name="other"))
    await asyncio.sleep(0.2)
    assert (await gateway.sample()).idle_seconds >= 0.2
    assert (await post(gateway.port, CHAT, chat())).status == 200
    sample, other = await gateway.sample(), await gateway.sample("other")
    assert sample.idle_seconds < other.idle_seconds
    assert (sample.arrivals, other.arrivals) == (1, 0)


async def test_samples_keep_the_contracts_names(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route())
    (sample,) = (await get(gateway.report_port, "/samples")).json["samples"]
    assert sample["namespace"] == "team-a"
    assert sample["name"] == "wiki"
    assert set(sample) == {
        "namespace", "name", "inFlight", "waiting", "idleSeconds", "arrivals", "completions",
        "flightSeconds", "loads", "window", "groups",
    }  # fmt: skip


async def test_flight_time_and_completions_grow_with_what_engines_do(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engine = await start_engine(permits=permits)
    gateway = await start_gateway(route(engine))
    asked = [asyncio.ensure_future(post(gateway.port, CHAT, chat())) for _ in range(2)]
    await eventually(lambda: engine.answering == 2)
    await asyncio.sleep(0.2)
    flying = await gateway.sample()
    assert (flying.in_flight, flying.completions) == (2, 0)
    assert flying.flight_seconds >= 0.4
    assert flying.loads == {engine.endpoint: 2}
    permits.release()
    permits.release()
    await asyncio.gather(*asked)
    landed = await gateway.sample()
    assert (landed.in_flight, landed.completions, landed.loads) == (0, 2, {})
    assert landed.flight_seconds >= flying.flight_seconds
    await asyncio.sleep(0.1)
    assert (await gateway.sample()).flight_seconds == landed.flight_seconds


async def test_metrics_count_requests_times_and_tokens(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()))
    await post(gateway.port, CHAT, chat())
    await post(gateway.port, CHAT, chat(stream=True))
    await eventually(lambda: [live.in_flight for live in gateway.routes] == [0])
    of = {"namespace": "team-a", "deployment": "wiki"}
    assert await gateway.metric("requests_total", code="200", **of) == 2
    assert await gateway.metric("tokens_total", kind="input", **of) == 14
    assert await gateway.metric("tokens_total", kind="output", **of) == 6
    assert await gateway.metric("time_to_first_token_seconds_count", **of) == 1
    assert await gateway.metric("inter_token_seconds_count", **of)
    assert await gateway.metric("queue_seconds_count", **of) == 0
    assert await gateway.metric("request_duration_seconds_count", **of) == 2
    assert await gateway.metric("in_flight", **of) == 0


async def test_a_route_that_goes_takes_its_series_along(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(route())
    assert await gateway.metric("waiting", deployment="wiki") == 0
    gateway.serve()
    assert await gateway.metric("waiting", deployment="wiki") is None
