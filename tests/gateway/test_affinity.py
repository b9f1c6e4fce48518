"""Prompts that begin alike go where their beginning is cached, as far as load allows."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud_gateway.affinity import BLOCK_BYTES, MOST_BLOCKS, Affinity, bound, prompt_blocks
from tests.gateway.client import CHAT, post
from tests.gateway.conftest import StartEngine, StartGateway, eventually, route

ENDPOINTS = [f"10.0.0.{n}:8000" for n in range(10)]


def body(*said: str, **members: Any) -> bytes:
    messages = [{"role": "user", "content": text} for text in said]
    return json.dumps({"model": "wiki", "messages": messages, **members}).encode()


def text(seed: int, size: int = 3000) -> str:
    return "".join(random.Random(seed).choices("abcdefghij ", k=size))


def first(affinity: Affinity, blocks: list[int]) -> str:
    return next(affinity.candidates(blocks))


def test_a_longer_conversation_begins_with_the_blocks_of_the_shorter() -> None:
    before = prompt_blocks("wiki", body(text(1)))
    after = prompt_blocks("wiki", body(text(1), text(2)))
    assert len(before) == 2
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert set(prompt_blocks("wiki", body(text(3)))).isdisjoint(before)
    assert set(prompt_blocks("wiki:adapter", body(text(1)))).isdisjoint(before)


def test_what_surrounds_the_prompt_does_not_count() -> None:
    assert prompt_blocks("wiki", body(text(1), seed=1)) == prompt_blocks("wiki", body(text(1)))
    prompt = json.dumps({"model": "wiki", "max_tokens": 5, "prompt": text(1)}).encode()
    assert len(prompt_blocks("wiki", prompt)) == 2


@pytest.mark.parametrize(
    "said", [b"", b"{}", body("short"), json.dumps({"input": text(1)}).encode()]
)
def test_short_prompts_and_other_bodies_have_no_blocks(said: bytes) -> None:
    assert prompt_blocks("wiki", said) == []


def test_a_long_prompt_costs_a_bounded_number_of_blocks() -> None:
    assert len(prompt_blocks("wiki", body("x" * BLOCK_BYTES * 500))) == MOST_BLOCKS


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, 400), st.integers(1, 40))
def test_no_replica_may_get_more_than_the_papers_bound(in_flight: int, replicas: int) -> None:
    most = bound(in_flight, replicas)
    assert most >= 1.25 * (in_flight + 1) / replicas > most - 1
    assert most * replicas >= in_flight + 1, "somewhere there is room"


def test_gateways_agree_on_a_new_beginnings_place_and_spread_them() -> None:
    one, other = Affinity(), Affinity()
    one.place(ENDPOINTS)
    other.place(reversed(ENDPOINTS))
    places: Counter[str] = Counter()
    for seed in range(500):
        blocks = prompt_blocks("wiki", body(text(seed)))
        assert first(one, blocks) == first(other, blocks)
        assert sorted(one.candidates(blocks)) == sorted(ENDPOINTS)
        places[first(one, blocks)] += 1
    assert len(places) == len(ENDPOINTS)
    assert max(places.values()) < 2.5 * 500 / len(ENDPOINTS)


def test_few_beginnings_move_when_a_replica_comes() -> None:
    before, after = Affinity(), Affinity()
    before.place(ENDPOINTS[:9])
    after.place(ENDPOINTS)
    moved = 0
    for seed in range(300):
        blocks = prompt_blocks("wiki", body(text(seed)))
        if first(before, blocks) != first(after, blocks):
            moved += 1
            assert first(after, blocks) == ENDPOINTS[9], "it moved between old replicas"
    assert 0 < moved < 90


def test_the_longest_known_beginning_decides() -> None:
    affinity = Affinity()
    affinity.place(ENDPOINTS)
    system = text(1)
    affinity.served(prompt_blocks("wiki", body(system, text(2))), "a:1")
    affinity.served(prompt_blocks("wiki", body(system, text(3))), "b:1")
    assert first(affinity, prompt_blocks("wiki", body(system, text(2), text(4)))) == "a:1"
    assert first(affinity, prompt_blocks("wiki", body(system, text(3), text(4)))) == "b:1"
    assert first(affinity, prompt_blocks("wiki", body(system, text(5)))) == "b:1"


async def test_conversations_stay_with_their_replicas(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engines = [await start_engine(name) for name in "abc"]
    gateway = await start_gateway(route(*engines))
    homes: dict[int, set[str]] = {}
    for turn in range(4):
        for seed in range(12):
            said = [text(seed), *(text(100 * seed + n) for n in range(turn))]
            answer = await post(gateway.port, CHAT, body(*said))
            homes.setdefault(seed, set()).add(answer.headers["openai-model"])
    assert all(len(home) == 1 for home in homes.values())
    assert len(set().union(*homes.values())) > 1


async def test_a_favourite_prompt_overloads_no_replica(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    permits = asyncio.Semaphore(0)
    engines = [await start_engine(name, permits=permits) for name in "abcd"]
    gateway = await start_gateway(route(*engines, in_flight_per_replica=100))
    asked = [asyncio.create_task(post(gateway.port, CHAT, body(text(1)))) for _ in range(40)]
    await eventually(lambda: sum(engine.answering for engine in engines) == 40)
    assert max(engine.answering for engine in engines) <= bound(39, 4)
    assert min(engine.answering for engine in engines) > 0
    for _ in asked:
        permits.release()
    assert {answer.status for answer in await asyncio.gather(*asked)} == {200}


async def test_a_replica_that_knows_the_prompt_and_does_not_answer_is_left(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engines = [await start_engine(name) for name in "ab"]
    gateway = await start_gateway(route(*engines))
    home = (await post(gateway.port, CHAT, body(text(1)))).headers["openai-model"]
    (known, other) = engines if home == "a" else reversed(engines)
    known.fault = "reset"
    answer = await post(gateway.port, CHAT, body(text(1)))
    assert (answer.status, answer.headers["openai-model"]) == (200, other.name)
