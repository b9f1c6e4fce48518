"""OpenTelemetry traces, from a client's traceparent to a collector."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from llmcloud_gateway.traces import Traces
from tests.gateway.client import CHAT, chat, post
from tests.gateway.collector import Collector
from tests.gateway.conftest import StartEngine, StartGateway, eventually, route

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
async def collector(started: AsyncExitStack) -> Collector:
    found = await Collector().start()
    started.push_async_callback(found.stop)
    return found


async def running(started: AsyncExitStack, collector: Collector, fraction: float = 1.0) -> Traces:
    traces = Traces(collector.url, fraction, "pod-1")
    task = asyncio.create_task(traces.run())

    async def stop() -> None:
        task.cancel()
        await asyncio.wait([task])

    started.push_async_callback(stop)
    return traces


async def test_a_request_is_a_span_of_the_clients_trace_and_the_engines_parent(
    started: AsyncExitStack,
    collector: Collector,
    start_gateway: StartGateway,
    start_engine: StartEngine,
) -> None:
    engine = await start_engine()
    traces = await running(started, collector)
    gateway = await start_gateway(route(engine), traces=traces)
    sent = f"00-{TRACE}-{PARENT}-01"
    assert (await post(gateway.port, CHAT, chat(stream=True), traceparent=sent)).status == 200
    await eventually(lambda: len(collector.spans) == 1)
    (span,) = collector.spans
    assert (span["traceId"], span["parentSpanId"]) == (TRACE, PARENT)
    assert engine.asked[0].headers["traceparent"] == f"00-{TRACE}-{span['spanId']}-01"
    assert span["name"] == f"POST {CHAT}"
    first_token = float(span["attributes"].pop("llmcloud.time_to_first_token_seconds"))
    assert first_token >= 0, "the loop's clock has milliseconds"
    assert span["attributes"] == {
        "gen_ai.request.model": "wiki",
        "k8s.namespace.name": "team-a",
        "llmcloud.deployment": "wiki",
        "server.address": engine.endpoint,
        "gen_ai.usage.input_tokens": "7",
        "gen_ai.usage.output_tokens": "3",
        "http.response.status_code": "200",
    }


async def test_errors_are_spans_too(
    started: AsyncExitStack,
    collector: Collector,
    start_gateway: StartGateway,
    start_engine: StartEngine,
) -> None:
    traces = await running(started, collector)
    broken = await start_engine(fault="garbage")
    gateway = await start_gateway(route(broken), traces=traces)
    await post(gateway.port, CHAT, chat("nothing"))
    await post(gateway.port, CHAT, chat())
    await eventually(lambda: len(collector.spans) == 2)
    unknown, failed = collector.spans
    assert unknown["attributes"]["error.type"] == "ModelNotFound"
    assert unknown["attributes"]["http.response.status_code"] == "404"
    assert unknown["status"] == {}
    assert failed["attributes"]["http.response.status_code"] == "502"
    assert failed["status"] == {"code": 2}
    assert unknown["traceId"] != failed["traceId"]


@pytest.mark.parametrize(("flags", "fraction", "traced"), [("01", 0.0, 1), ("00", 1.0, 0)])
async def test_the_clients_decision_to_sample_holds(
    started: AsyncExitStack,
    collector: Collector,
    start_gateway: StartGateway,
    start_engine: StartEngine,
    flags: str,
    fraction: float,
    traced: int,
) -> None:
    engine = await start_engine()
    traces = await running(started, collector, fraction)
    gateway = await start_gateway(route(engine), traces=traces)
    sent = f"00-{TRACE}-{PARENT}-{flags}"
    await post(gateway.port, CHAT, chat(), traceparent=sent)
    await traces._flush()
    assert len(collector.spans) == traced
    if not traced:
        assert engine.asked[0].headers["traceparent"] == sent


async def test_a_collector_that_refuses_costs_spans_and_no_request(
    started: AsyncExitStack,
    collector: Collector,
    start_gateway: StartGateway,
    start_engine: StartEngine,
) -> None:
    collector.status = 503
    traces = await running(started, collector)
    gateway = await start_gateway(route(await start_engine()), traces=traces)
    assert (await post(gateway.port, CHAT, chat())).status == 200
    await eventually(lambda: traces.lost == 1)
    await collector.stop()
    assert (await post(gateway.port, CHAT, chat())).status == 200
    await eventually(lambda: traces.lost == 2)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="--traces-url"):
        Traces("collector:4318", 1.0, "pod-1")
