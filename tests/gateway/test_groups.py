"""A canary gets its share of the requests, and what it does with them is counted apart."""

import asyncio
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.contract import GroupSample, Route, RouteSample
from llmcloud_gateway.affinity import prompt_blocks
from llmcloud_gateway.groups import SLACK, Groups
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.routes import LiveRoute
from tests.gateway.client import CHAT, chat, connect, get, post
from tests.gateway.conftest import StartEngine, StartGateway, eventually, route
from tests.gateway.engine import Engine
from tests.gateway.test_affinity import body, text
from tests.gateway.test_process import running, write_table
from tests.gateway.test_pure import Clock

STABLE, CANARY = ["s1:1", "s2:1"], ["c1:1"]


def groups(weight: int, stable: list[str] | None = None, canary: list[str] | None = None) -> Any:
    pairs = (("old", 100 - weight, stable or STABLE), ("new", weight, canary or CANARY))
    return [{"name": n, "weight": w, "endpoints": endpoints} for n, w, endpoints in pairs]


def canary_route(
    *stable: Engine, canary: Engine, weight: int, window: str = "1", **more: Any
) -> Route:
    parts = groups(weight, [one.endpoint for one in stable], [canary.endpoint])
    return route(*stable, canary, groups=parts, window=window, **more)


def live(weight: int, **changes: Any) -> LiveRoute:
    given = route(*STABLE, *CANARY, groups=groups(weight), **changes)
    found = LiveRoute(given, Limits(), Clock())
    found.update(given)
    return found


def asked(one: LiveRoute, said: bytes = b"") -> str:
    """The group that a request goes to, which is answered at once."""
    blocks = prompt_blocks("wiki", said)
    replica = one.take(blocks)
    assert replica is not None
    one.remember(blocks, replica)
    one.release(replica)
    return replica.group.name


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(1, 99), st.integers(1, 400))
def test_every_stretch_of_requests_has_its_share(weight: int, requests: int) -> None:
    one = live(weight)
    counts = Counter(asked(one) for _ in range(requests))
    assert abs(counts["new"] - requests * weight / 100) < 1


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(1, 99), st.integers(0, 1000), st.booleans())
def test_conversations_and_common_beginnings_move_the_share_by_the_slack_at_most(
    weight: int, seed: int, common: bool
) -> None:
    one = live(weight)
    draw = random.Random(seed)
    talks = [[text(0 if common else n), text(n)] for n in range(12)]
    new = 0
    for number in range(1, 200):
        said = draw.choice(talks)
        new += asked(one, body(*said)) == "new"
        assert abs(new - number * weight / 100) <= SLACK + 1


def test_a_conversation_stays_with_the_group_that_knows_it() -> None:
    one = live(50)
    for other in range(5 * SLACK):
        asked(one, body(text(0), text(-1 - other)))  # both come to know the common beginning
    homes: dict[int, list[str]] = {}
    for turn in range(4):
        for talk in range(10):
            said = [text(0), *(text(100 * talk + n) for n in range(1, turn + 2))]
            homes.setdefault(talk, []).append(asked(one, body(*said)))
    assert Counter(home[0] for home in homes.values()) == {"old": 5, "new": 5}
    assert all(len(set(home)) == 1 for home in homes.values()), homes


def test_what_is_known_of_prompts_outlives_the_canary() -> None:
    one = live(50)
    said = [body(text(talk)) for talk in range(8)]
    blocks = [prompt_blocks("wiki", each) for each in said]

    def home(known: list[int]) -> str:
        replica = one.take(known)
        assert replica is not None
        one.remember(known, replica)
        one.release(replica)
        return replica.endpoint

    before = [home(each) for each in blocks]
    one.update(route(*STABLE, *CANARY))
    assert [home(each) for each in blocks] == before
    one.update(route(*STABLE, *CANARY, groups=groups(50)))
    assert [home(each) for each in blocks] == before


def test_a_full_canary_leaves_the_rest_to_the_stable_one() -> None:
    one = live(50, in_flight_per_replica=2)
    taken = [one.take() for _ in range(6)]
    assert Counter(r.group.name for r in taken if r) == {"old": 4, "new": 2}
    assert one.take() is None


def test_a_stable_one_that_is_full_leaves_the_canary_its_slack_and_no_more() -> None:
    one = live(10, in_flight_per_replica=100)
    for _ in range(200):
        assert one.take() is not None
    taken = [one.take() for _ in range(100)]
    at_share = 20
    assert sum(r is not None and r.group.name == "new" for r in taken) <= SLACK + at_share
    assert taken[-1] is None


def test_without_any_stable_replica_the_canary_serves_all() -> None:
    one = live(10)
    one.update(route(*CANARY, groups=groups(10, stable=[])))
    parts = [{"name": "old", "weight": 90, "endpoints": []}, groups(10)[1]]
    one.update(route(*CANARY, groups=parts))
    assert Counter(asked(one) for _ in range(100)) == {"new": 100}


def test_a_group_without_weight_gets_nothing() -> None:
    one = live(0, in_flight_per_replica=1)
    taken = [one.take() for _ in range(3)]
    assert [r and r.group.name for r in taken] == ["old", "old", None]


async def test_who_waits_is_served_by_either_group() -> None:
    one = live(50, in_flight_per_replica=1)
    taken = [one.take() for _ in range(3)]
    waiting = one.wait(first=False)
    canary = next(r for r in taken if r and r.group.name == "new")
    one.release(canary)
    assert waiting.result() is canary


def test_a_replica_that_leaves_the_table_takes_its_load_along() -> None:
    one = live(50)
    taken = [r for r in (one.take() for _ in range(6)) if r]
    one.update(route("s1:1", *CANARY, groups=groups(50, stable=["s1:1"])))
    for replica in taken:
        one.release(replica)
    assert [group.in_flight for group in one.groups] == [0, 0]
    assert one.in_flight == 0


def test_counts_begin_anew_with_the_window() -> None:
    one = Groups()
    one.update(route(*STABLE, *CANARY, groups=groups(10), window="1"))
    (_, canary) = one
    canary.tally.ended(502)
    canary.tally.began(math.e)
    one.update(route(*STABLE, *CANARY, groups=groups(20), window="1"))
    expected = GroupSample(name="new", requests=1, errors=1, streams=1, log_seconds=1.0)
    assert [group.sample() for group in one][1] == expected
    one.update(route(*STABLE, *CANARY, groups=groups(50), window="2"))
    assert [group.sample() for group in one][1] == GroupSample(name="new")


def counted(sample: RouteSample) -> dict[str, tuple[int, int, int]]:
    return {g.name: (g.requests, g.errors, g.streams) for g in sample.groups}


async def test_requests_streams_and_errors_are_counted_by_group(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    old, new = await start_engine("old"), await start_engine("new", fault="failure")
    gateway = await start_gateway(canary_route(old, canary=new, weight=25))
    answers = [await post(gateway.port, CHAT, chat(stream=n % 2 == 0)) for n in range(40)]
    assert Counter(answer.status for answer in answers) == {200: 30, 500: 10}
    sample = await gateway.sample()
    assert sample.window == "1"
    requests, errors, streams = zip(*counted(sample).values(), strict=True)
    assert (requests, errors) == ((30, 10), (0, 10))
    assert 0 < streams[0] < 30
    assert streams[1] == 0
    of = {"deployment": "wiki", "revision": "new"}
    assert await gateway.metric("group_requests_total", outcome="failed", **of) == 10


async def test_refusals_are_counted_apart_from_errors(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    old, new = await start_engine("old"), await start_engine("new", fault="refusal")
    gateway = await start_gateway(canary_route(old, canary=new, weight=25))
    answers = [await post(gateway.port, CHAT, chat()) for _ in range(8)]
    assert Counter(answer.status for answer in answers) == {200: 6, 422: 2}
    groups = (await gateway.sample()).groups
    assert [(g.requests, g.errors, g.refusals) for g in groups] == [(6, 0, 0), (2, 0, 2)]
    of = {"deployment": "wiki", "revision": "new"}
    assert await gateway.metric("group_requests_total", outcome="refused", **of) == 2


async def test_a_first_byte_that_is_late_by_the_engine_counts_and_waiting_for_one_does_not(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    old, new = await start_engine("old"), await start_engine("new", permits=permits)
    gateway = await start_gateway(canary_route(old, canary=new, weight=50))

    async def late() -> None:
        await eventually(lambda: new.answering == 1)
        await asyncio.sleep(0.3)
        for _ in new.text.split():
            permits.release()

    waits = asyncio.create_task(late())
    for _ in range(2):
        assert (await post(gateway.port, CHAT, chat(stream=True))).status == 200
    await waits
    by_name = {group.name: group for group in (await gateway.sample()).groups}
    assert math.exp(by_name["new"].log_seconds) >= 0.3
    assert by_name["old"].log_seconds < by_name["new"].log_seconds


@pytest.mark.parametrize("fault", ["reset", "half"])
async def test_an_answer_that_never_came_or_broke_off_is_the_groups_error(
    start_gateway: StartGateway, start_engine: StartEngine, fault: Any
) -> None:
    old, new = await start_engine("old"), await start_engine("new", fault=fault)
    gateway = await start_gateway(canary_route(old, canary=new, weight=50))
    for _ in range(2):
        await post(gateway.port, CHAT, chat(stream=True))
    await eventually(lambda: [one.in_flight for one in gateway.routes] == [0])
    errors = {group.name: group.errors for group in (await gateway.sample()).groups}
    assert errors == {"old": 0, "new": 1}


async def test_a_client_that_leaves_is_nobodys_error(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engines = [await start_engine(name, permits=permits) for name in ("old", "new")]
    gateway = await start_gateway(canary_route(engines[0], canary=engines[1], weight=50))
    for _ in engines:
        async with connect(gateway.port) as client:
            waits = asyncio.create_task(client.ask("POST", CHAT, chat(stream=True)))
            await eventually(lambda: any(one.answering for one in engines))
            waits.cancel()
        await eventually(lambda: not any(one.answering for one in engines))
    await eventually(lambda: [one.in_flight for one in gateway.routes] == [0])
    assert counted(await gateway.sample()) == {"old": (0, 0, 0), "new": (0, 0, 0)}


async def test_a_route_without_groups_tells_of_none(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine()))
    await post(gateway.port, CHAT, chat())
    assert (await gateway.sample()).groups == []
    assert await gateway.metric("group_requests_total", deployment="wiki") is None


async def has_read(report_port: int, window: str) -> None:
    async with asyncio.timeout(20):
        while True:
            answer = await get(report_port, "/samples")
            if answer.json["samples"][0]["window"] == window:
                return
            await asyncio.sleep(0.05)


async def test_a_canary_comes_is_promoted_or_goes_under_load_and_no_request_is_lost(
    tmp_path: Path, start_engine: StartEngine
) -> None:
    old = [await start_engine(f"old-{n}") for n in range(2)]
    new = await start_engine("new")
    table = tmp_path / "routes.json"
    write_table(table, route(*old))
    stop = asyncio.Event()
    answers: list[tuple[int, str]] = []

    async def load(port: int, stream: bool) -> None:
        async with connect(port) as client:
            while not stop.is_set():
                answer = await client.ask("POST", CHAT, chat(stream=stream))
                answers.append((answer.status, answer.headers["openai-model"]))

    async def serve(one: Route, until: str, port: int) -> None:
        write_table(table, one)
        await has_read(port, one.window)
        sofar = len(answers)
        await eventually(lambda: until in {name for _, name in answers[sofar:]}, 20)

    async with running(table) as gateway:
        clients = [asyncio.create_task(load(gateway.port, n % 2 == 0)) for n in range(6)]
        try:
            canary = canary_route(*old, canary=new, weight=10)
            await serve(canary, "new", gateway.report_port)
            await serve(route(*old), "old-0", gateway.report_port)
            await serve(canary.model_copy(update={"window": "2"}), "new", gateway.report_port)
            await serve(route(new), "new", gateway.report_port)
        finally:
            stop.set()
        await asyncio.gather(*clients)
    assert {status for status, _ in answers} == {200}
