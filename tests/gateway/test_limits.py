"""What a key may spend: never more, and nearly all of it."""

import asyncio
import json
from typing import Any

import pytest

from llmcloud.api.accesskey import KeyLimits
from llmcloud.api.contract import GatewaySamples
from llmcloud.api.leases import KeyLease, KeySample, day_of, minute_of
from llmcloud.plan.leases import demands_of, plan_leases
from tests.gateway.client import CHAT, Answer, connect, get, post, request
from tests.gateway.conftest import (
    RunningGateway,
    StartEngine,
    StartGateway,
    eventually,
    route,
)
from tests.gateway.records import bearer, record

NOON = 1_777_636_800.0
WORDS = " ".join(["word"] * 50)
COST = 57
"""Tokens of one answer of WORDS, as the engine counts them."""


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def body(**members: Any) -> bytes:
    said = {"model": "wiki", "messages": [{"role": "user", "content": "hello"}], **members}
    return json.dumps(said).encode()


async def ask(gateway: RunningGateway, **members: Any) -> Answer:
    return await post(gateway.port, CHAT, body(**members), **bearer())


def reason(answer: Answer) -> str:
    return answer.headers["x-llmcloud-reason"]


def spent(gateway: RunningGateway, now: float = NOON) -> tuple[int, int]:
    """Requests and tokens of the minute, those reserved among them."""
    (sample,) = gateway.keys.samples()
    for window in sample.windows:
        if window.window == minute_of(now):
            return window.requests, window.tokens
    return 0, 0


async def test_requests_of_a_minute_are_counted_and_come_back_with_the_next(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    clock = Clock()
    gateway = await start_gateway(wall_clock=clock)
    limits = {"requestsPerMinute": 3}
    gateway.serve(route(await start_engine(), anonymous=False), keys=[record(limits=limits)])
    clock.now += 18.5
    assert [(await ask(gateway)).status for _ in range(4)] == [200, 200, 200, 429]
    refused = await ask(gateway)
    assert reason(refused) == "BudgetSpent"
    assert refused.headers["retry-after"] == "42"
    assert refused.error["type"] == "rate_limit_error"
    assert refused.error["code"] == "rate_limit_exceeded"
    clock.now += 42
    assert (await ask(gateway)).status == 200
    (sample,) = gateway.keys.samples()
    assert (sample.requests, sample.input_tokens, sample.output_tokens) == (4, 28, 12)


async def test_a_days_tokens_come_back_with_the_next_day(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    clock = Clock()
    gateway = await start_gateway(wall_clock=clock)
    key = record(limits={"tokensPerDay": 500})
    gateway.serve(route(await start_engine(text=WORDS), anonymous=False), keys=[key])
    answers = [await ask(gateway, max_tokens=50) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == str(12 * 3600)
    clock.now += 12 * 3600
    assert (await ask(gateway, max_tokens=50)).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_five_hundred_at_once_overspend_nothing_and_can_use_nearly_all(
    start_gateway: StartGateway, start_engine: StartEngine, stream: bool
) -> None:
    engine = await start_engine(text=WORDS, tells_usage=False)
    gateway = await start_gateway(wall_clock=Clock(), budget_wait_seconds=60)
    limit = 20_000
    key = record(limits={"tokensPerMinute": limit})
    gateway.serve(route(engine, anonymous=False), keys=[key])
    calls = [ask(gateway, max_tokens=50, stream=stream) for _ in range(500)]
    answers = await asyncio.gather(*calls)
    served = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} == {200, 429}
    assert len(engine.asked) == len(served)
    assert 0.8 * limit <= len(served) * COST <= limit
    assert spent(gateway) == (len(served), len(served) * COST)


async def lead(gateways: list[RunningGateway], limits: KeyLimits, leases: list[KeyLease]) -> None:
    """What the operator does: hears the gateways, leases, and writes before they may spend."""
    while True:
        heard: dict[str, KeySample] = {}
        for gateway in gateways:
            answer = await get(gateway.report_port, "/samples")
            samples = GatewaySamples.model_validate_json(answer.body)
            heard.update((samples.gateway, key) for key in samples.keys)
        leases[:] = plan_leases(limits, leases, demands_of(heard), NOON)
        for gateway in gateways:
            gateway.keys.put(record(limits=limits.wire(), leases=leases))
        await asyncio.sleep(0.02)


async def test_three_gateways_share_a_budget_by_leases_and_one_is_killed(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine(text=WORDS)
    limits = KeyLimits(requests_per_minute=400, tokens_per_minute=20_000)
    gateways = [
        await start_gateway(wall_clock=Clock(), name=name, budget_wait_seconds=60) for name in "abc"
    ]
    for gateway in gateways:
        gateway.serve(
            route(engine, anonymous=False), keys=[record(limits=limits.wire(), leases=[])]
        )
    leases: list[KeyLease] = []
    leader = asyncio.create_task(lead(gateways, limits, leases))
    first = [ask(gateways[n % 3], max_tokens=50) for n in range(60)]
    assert {answer.status for answer in await asyncio.gather(*first)} == {200}
    leader.cancel()
    killed = gateways.pop()
    lost = next(lease for lease in leases if lease.gateway == "c")
    leader = asyncio.create_task(lead(gateways, limits, leases))
    answers = await asyncio.gather(*[ask(gateways[n % 2], max_tokens=50) for n in range(500)])
    leader.cancel()
    assert {answer.status for answer in answers} <= {200, 429}
    tokens = len(engine.asked) * COST
    stranded = lost.tokens - spent(killed)[1]
    assert tokens <= 20_000
    assert tokens >= 0.8 * (20_000 - stranded)
    assert len(engine.asked) <= 400
    assert sum(lease.tokens for lease in leases) <= 20_000


async def test_without_a_lease_a_request_waits_and_then_is_told_to_come_back(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(wall_clock=Clock(), budget_wait_seconds=0.3)
    limits = {"requestsPerMinute": 10}
    closed = route(await start_engine(), anonymous=False)
    gateway.serve(closed, keys=[record(limits=limits, leases=[])])
    answer = await ask(gateway)
    assert (answer.status, reason(answer)) == (503, "BudgetNotLeased")
    asked = asyncio.create_task(ask(gateway))
    await eventually(lambda: spent_wanted(gateway) == 1)
    lease = KeyLease(gateway="gateway", window=minute_of(NOON), requests=1)
    gateway.keys.put(record(limits=limits, leases=[lease]))
    assert (await asked).status == 200
    others = KeyLease(gateway="another", window=minute_of(NOON), requests=9)
    gateway.keys.put(record(limits=limits, leases=[lease, others]))
    answer = await ask(gateway)
    assert (answer.status, reason(answer)) == (429, "BudgetSpent"), "all is leased: no use to wait"


def spent_wanted(gateway: RunningGateway) -> int:
    """Requests that wait for a lease."""
    samples = gateway.keys.samples()
    return sum(window.wanted_requests for sample in samples for window in sample.windows)


async def test_a_lowered_limit_shrinks_what_was_leased(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(wall_clock=Clock())
    leases = [
        KeyLease(gateway=name, window=minute_of(NOON), requests=100) for name in ("gateway", "b")
    ]
    key = record(limits={"requestsPerMinute": 4}, leases=leases)
    gateway.serve(route(await start_engine(), anonymous=False), keys=[key])
    assert [(await ask(gateway)).status for _ in range(3)] == [200, 200, 429]


async def test_a_request_that_waits_for_others_reservations_gets_what_comes_back(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engine = await start_engine(permits=permits)
    gateway = await start_gateway(wall_clock=Clock())
    key = record(limits={"tokensPerMinute": 600})
    gateway.serve(route(engine, anonymous=False), keys=[key])
    first = asyncio.create_task(ask(gateway, max_tokens=100))
    await eventually(lambda: engine.answering == 1)
    second = asyncio.create_task(ask(gateway, max_tokens=100))
    await eventually(lambda: spent_wanted(gateway) == 1)
    async with connect(gateway.port) as third:
        third.send(request("POST", CHAT, body(max_tokens=100), **bearer()))
        await eventually(lambda: spent_wanted(gateway) == 2)
    await eventually(lambda: spent_wanted(gateway) == 1)
    permits.release()
    assert (await first).status == 200
    permits.release()
    assert (await second).status == 200
    assert spent(gateway) == (2, 20)


async def test_an_engines_refusal_costs_no_tokens_and_a_client_that_leaves_all_it_reserved(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engine = await start_engine(permits=permits, fault="refusal")
    gateway = await start_gateway(wall_clock=Clock())
    key = record(limits={"tokensPerMinute": 10_000})
    gateway.serve(route(engine, anonymous=False), keys=[key])
    assert (await ask(gateway)).status == 422
    assert spent(gateway) == (1, 0)
    engine.fault = None
    async with connect(gateway.port) as client:
        client.send(request("POST", CHAT, body(max_tokens=300, stream=True), **bearer()))
        await eventually(lambda: len(engine.asked) == 2)
        reserved = spent(gateway)[1]
        assert reserved >= 300
    await eventually(lambda: engine.abandoned == 1)
    assert spent(gateway) == (2, reserved)


@pytest.mark.parametrize(
    ("limits", "members", "reason_", "param"),
    [
        ({"maxTokens": 100}, {"max_tokens": 101}, "MaxTokensExceeded", "max_tokens"),
        ({"maxTokens": 100}, {"max_completion_tokens": 101}, "MaxTokensExceeded", "max_tokens"),
        ({"maxTokens": 100}, {"max_tokens": 51, "n": 2}, "MaxTokensExceeded", "max_tokens"),
        ({"maxTokens": 1}, {"n": 2}, "MaxTokensExceeded", "max_tokens"),
        ({"tokensPerMinute": 1000}, {"max_tokens": 1000}, "RequestExceedsBudget", None),
        ({}, {"n": 129}, "ValueOutOfRange", "n"),
        ({}, {"n": 0}, "ValueOutOfRange", "n"),
        ({}, {"n": True}, "ValueOutOfRange", "n"),
        ({}, {"n": "2"}, "ValueOutOfRange", "n"),
        ({}, {"best_of": 10**9}, "ValueOutOfRange", "best_of"),
        ({}, {"max_tokens": 0}, "ValueOutOfRange", "max_tokens"),
        ({}, {"max_tokens": 1.5}, "ValueOutOfRange", "max_tokens"),
        ({}, {"max_completion_tokens": -1}, "ValueOutOfRange", "max_completion_tokens"),
    ],
)
async def test_what_asks_for_too_much_is_refused_by_name(
    start_gateway: StartGateway,
    start_engine: StartEngine,
    limits: dict[str, int],
    members: dict[str, Any],
    reason_: str,
    param: str | None,
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(wall_clock=Clock())
    gateway.serve(route(engine, anonymous=False), keys=[record(limits=limits)])
    answer = await ask(gateway, **members)
    assert (answer.status, reason(answer)) == (400, reason_)
    assert answer.error["param"] == param
    assert engine.asked == []
    assert (await ask(gateway, max_tokens=1)).status == 200


@pytest.mark.parametrize(
    ("limits", "members", "added"),
    [
        ({}, {}, {}),
        ({"requestsPerMinute": 9}, {}, {}),
        ({"maxTokens": 100}, {}, {"max_tokens": 100}),
        ({"maxTokens": 100}, {"n": 3}, {"max_tokens": 33}),
        ({"maxTokens": 100}, {"max_tokens": None}, {"max_tokens": 100}),
        ({"maxTokens": 100}, {"max_tokens": 7}, {}),
        ({"tokensPerDay": 10**6}, {}, {"max_tokens": 1024}),
        (
            {"tokensPerDay": 10**6},
            {"stream": True, "max_tokens": 7},
            {"stream_options": {"include_usage": True}},
        ),
        (
            {"tokensPerDay": 10**6},
            {"stream": True, "max_tokens": 7, "stream_options": {"other": 1}},
            {"stream_options": {"include_usage": True, "other": 1}},
        ),
    ],
)
async def test_the_engine_is_asked_for_what_the_limits_need_and_no_more(
    start_gateway: StartGateway,
    start_engine: StartEngine,
    limits: dict[str, int],
    members: dict[str, Any],
    added: dict[str, Any],
) -> None:
    engine = await start_engine()
    gateway = await start_gateway(wall_clock=Clock())
    gateway.serve(route(engine, anonymous=False), keys=[record(limits=limits)])
    assert (await ask(gateway, **members)).status == 200
    assert json.loads(engine.asked[0].body) == {**json.loads(body(**members)), **added}
    if not added:
        assert engine.asked[0].body == body(**members)


async def test_the_usage_that_only_the_gateway_asked_for_is_not_shown_to_the_client(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine(tells_usage=False)
    gateway = await start_gateway(wall_clock=Clock())
    key = record(limits={"tokensPerMinute": 5000})
    gateway.serve(route(engine, anonymous=False), keys=[key])
    hidden = await ask(gateway, stream=True, max_tokens=9)
    assert b'"usage"' not in hidden.body
    assert hidden.body.count(b"data: {") == 4
    shown = await ask(gateway, stream=True, max_tokens=9, stream_options={"include_usage": True})
    assert b'"usage"' in shown.body
    assert spent(gateway) == (2, 20)


async def test_samples_tell_what_was_spent_by_window(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(wall_clock=Clock(), name="pod-1")
    limits = {"requestsPerMinute": 9, "tokensPerDay": 10_000}
    gateway.serve(route(await start_engine(), anonymous=False), keys=[record(limits=limits)])
    assert (await get(gateway.report_port, "/samples")).json["keys"] == []
    await ask(gateway)
    told = (await get(gateway.report_port, "/samples")).json
    assert told["gateway"] == "pod-1"
    nothing = {"wantedRequests": 0, "wantedTokens": 0}
    assert told["keys"] == [
        {
            "namespace": "team-a",
            "name": "ci",
            "requests": 1,
            "inputTokens": 7,
            "outputTokens": 3,
            "lastUsed": int(NOON),
            "windows": [
                {"window": minute_of(NOON), "requests": 1, "tokens": 10, **nothing},
                {"window": day_of(NOON), "requests": 0, "tokens": 10, **nothing},
            ],
        }
    ]
