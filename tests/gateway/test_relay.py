"""From a client through the gateway to an engine and back."""

import asyncio
import json

import pytest

from tests.gateway.client import CHAT, chat, connect, get, post, request
from tests.gateway.conftest import StartEngine, StartGateway, eventually, route


async def test_a_request_goes_to_the_engine_unchanged_and_its_answer_comes_back(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine))
    body = b'{ "model":"wiki",  "messages": [], "seed": 1e2 }'
    answer = await post(gateway.port, CHAT, body)
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "one two three"
    assert answer.headers["openai-model"] == "engine"
    assert engine.asked[0].path == CHAT
    assert engine.asked[0].body == body


async def test_completions_go_to_the_engines_completions(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine))
    answer = await post(gateway.port, "/v1/completions", b'{"model": "wiki", "prompt": "a"}')
    assert answer.json["choices"][0]["text"] == "one two three"
    assert engine.asked[0].path == "/v1/completions"


async def test_models_are_routed_by_name_and_by_namespace(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    a, b = await start_engine("a"), await start_engine("b")
    gateway = await start_gateway(
        route(a, name="wiki"), route(b, name="wiki", namespace="team-b", shared=False, created=2)
    )

    async def served_by(path: str) -> str:
        return (await post(gateway.port, path, chat())).headers["openai-model"]

    assert await served_by(CHAT) == "a"
    assert await served_by("/ns/team-a" + CHAT) == "a"
    assert await served_by("/ns/team-b" + CHAT) == "b"
    listed = (await get(gateway.port, "/ns/team-b/v1/models")).json["data"]
    assert listed == [{"id": "wiki", "object": "model", "created": 2, "owned_by": "team-b"}]
    assert len((await get(gateway.port, "/v1/models")).json["data"]) == 1
    assert (await get(gateway.port, "/v1/models/wiki")).json["owned_by"] == "team-a"


async def test_an_unknown_model_is_not_found_and_the_remedy_is_named(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(route())
    answer = await post(gateway.port, CHAT, chat("nothing"))
    assert answer.status == 404
    assert answer.error["code"] == "model_not_found"
    assert "/v1/models" in answer.error["message"]
    assert answer.headers["x-llmcloud-reason"] == "ModelNotFound"
    assert (await get(gateway.port, "/v1/models/nothing")).status == 404


async def test_a_deployment_closed_to_anonymous_clients_answers_401_and_is_not_listed(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine, anonymous=False))
    answer = await post(gateway.port, CHAT, chat(), authorization="Bearer anything")
    assert answer.status == 401
    assert "llmcloud key new" in (await post(gateway.port, CHAT, chat())).error["message"]
    assert engine.asked == []
    assert (await get(gateway.port, "/v1/models")).json["data"] == []


async def test_engines_see_no_credentials_and_no_request_id_of_a_client(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine))
    headers = {
        "authorization": "Bearer s3cret",
        "cookie": "s3cret",
        "x_request_id": "mine",
        "traceparent": "00-abc-def-01",
    }
    answers = [await post(gateway.port, CHAT, chat(), **headers) for _ in range(2)]
    assert {answer.headers["x-request-id"] for answer in answers} == {"mine"}
    ids = {asked.headers["x-request-id"] for asked in engine.asked}
    assert len(ids) == 2
    assert "mine" not in ids
    assert engine.asked[0].headers["traceparent"] == "00-abc-def-01"
    assert "s3cret" not in str(engine.asked[0].headers)


async def test_a_chunk_reaches_the_client_before_the_engine_makes_the_next(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engine = await start_engine(permits=permits)
    gateway = await start_gateway(route(engine))
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat(stream=True)))
        for word in ("one", "two", "three"):
            permits.release()
            if word == "one":
                answer = await client.head()
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert "server" not in answer.headers
            chunk = await asyncio.wait_for(client.chunk(), 5)
            delta = json.loads(chunk.removeprefix(b"data: "))["choices"][0]["delta"]
            assert delta["content"] == word + " "
        assert b'"usage"' in await client.chunk()
        assert await client.chunk() == b""


async def test_a_client_that_leaves_cancels_the_engine_and_frees_its_place(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine(permits=asyncio.Semaphore(1))
    gateway = await start_gateway(route(engine))
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, chat(stream=True)))
        await client.head()
        assert (await gateway.sample()).in_flight == 1
    await eventually(lambda: engine.abandoned == 1)
    assert (await gateway.sample()).in_flight == 0
    assert await gateway.metric("requests_total", code="499") == 1


async def test_requests_go_to_the_least_loaded_replica_within_its_cap(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engines = [await start_engine(name, permits=permits) for name in "abc"]
    gateway = await start_gateway(route(*engines, in_flight_per_replica=2))
    asked = [asyncio.create_task(post(gateway.port, CHAT, chat())) for _ in range(9)]
    await eventually(lambda: sum(engine.answering for engine in engines) == 6)
    sample = await gateway.sample()
    assert (sample.in_flight, sample.waiting, sample.arrivals) == (6, 3, 9)
    assert [engine.answering for engine in engines] == [2, 2, 2]
    for _ in range(9):
        permits.release()
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {200}
    assert max(engine.most_answering for engine in engines) == 2


@pytest.mark.parametrize("fault", ["reset", "refused"])
async def test_a_replica_that_does_not_answer_is_replaced_by_another(
    start_gateway: StartGateway, start_engine: StartEngine, fault: str
) -> None:
    bad, good = await start_engine("bad", fault="reset"), await start_engine("good")
    if fault == "refused":
        await bad.stop()
    gateway = await start_gateway(route(bad, good))
    for _ in range(6):
        answer = await post(gateway.port, CHAT, chat())
        assert (answer.status, answer.headers["openai-model"]) == (200, "good")
    assert len(bad.asked) <= 1, "it was asked again although it was ejected"


async def test_an_ejected_replica_is_tried_again_later(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine(fault="reset")
    gateway = await start_gateway(route(engine), ejection_seconds=0.2)
    asked = asyncio.create_task(post(gateway.port, CHAT, chat()))
    await eventually(lambda: len(engine.asked) == 1)
    engine.fault = None
    assert (await asked).status == 200
    assert len(engine.asked) == 2


async def test_requests_are_not_retried_for_ever(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engines = [await start_engine(name, fault="reset") for name in "abcd"]
    gateway = await start_gateway(route(*engines))
    answer = await post(gateway.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (502, "EngineUnreachable")
    assert sum(len(engine.asked) for engine in engines) == 3


async def test_an_idle_connection_that_the_engine_closed_costs_no_request_and_ejects_nothing(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    port = int(engine.endpoint.split(":")[1])
    gateway = await start_gateway(route(engine))
    for _ in range(3):
        assert (await post(gateway.port, CHAT, chat())).status == 200
        await engine.stop()
        await engine.start(port)
    assert engine.connections == 3


async def test_engine_connections_are_reused(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(route(engine))
    for _ in range(5):
        assert (await post(gateway.port, CHAT, chat())).status == 200
        assert (await post(gateway.port, CHAT, chat(stream=True))).status == 200
    assert engine.connections == 1


async def test_a_stream_that_breaks_ends_with_an_error_event(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine(fault="half")
    gateway = await start_gateway(route(engine))
    answer = await post(gateway.port, CHAT, chat(stream=True))
    events = [line for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
    assert b"engine_broke" in events[-2]
    assert events[-1] == b"data: [DONE]"
    assert len(engine.asked) == 1, "a stream that had begun was retried"


async def test_an_engine_that_speaks_garbage_is_an_error_of_the_gateway(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine(fault="garbage")))
    answer = await post(gateway.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (502, "EngineBroke")


async def test_an_engines_refusal_comes_through_in_openais_format(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine(fault="refusal")))
    answer = await post(gateway.port, CHAT, chat())
    assert answer.status == 422
    assert answer.error["message"] == "no such field"
    assert "x-llmcloud-reason" not in answer.headers


async def test_an_egress_pods_refusal_comes_through_with_its_reason(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    egress = await start_engine(fault="refusal", reason="TokensPerDaySpent")
    gateway = await start_gateway(route(egress))
    answer = await post(gateway.port, CHAT, chat())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (422, "TokensPerDaySpent")


async def test_a_client_that_reads_slowly_slows_the_engine_down(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    words = " ".join(["x" * 4000] * 5000)
    engine = await start_engine(text=words)
    gateway = await start_gateway(route(engine))
    async with connect(gateway.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(request("POST", CHAT, chat(stream=True)))
        await eventually(lambda: engine.answering == 1)
        await asyncio.sleep(0.5)
        held = sum(c._transport.get_write_buffer_size() for c in gateway.clients.connections)
        assert held < 2 << 20
        assert engine.answering == 1, "20 MB went somewhere"
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await client.answer()
    assert answer.body.count(b"data: ") == 5001


async def test_an_engine_that_says_nothing_is_given_up_and_not_asked_again(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(1)
    engine = await start_engine(permits=permits)
    gateway = await start_gateway(route(engine), engine_silence_seconds=0.3)
    stream = await post(gateway.port, CHAT, chat(stream=True))
    assert stream.status == 200
    assert b"engine_broke" in stream.body
    whole = await post(gateway.port, CHAT, chat())
    assert (whole.status, whole.headers["x-llmcloud-reason"]) == (502, "EngineBroke")
    assert len(engine.asked) == 2
    await eventually(lambda: engine.abandoned == 2)
