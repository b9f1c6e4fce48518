"""The parts that only compute: paths, errors, token counts, choices."""

import json
from typing import Any

import pytest

from llmcloud.api.contract import RouteTable
from llmcloud_gateway.errors import engine_error_body
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.paths import Action, Match, match
from llmcloud_gateway.routes import LiveRoute, Routes
from llmcloud_gateway.usage import Usage, WithoutUsage
from tests.gateway.conftest import route


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("POST", "/v1/completions", Match(Action.ASK_MODEL, None, "/v1/completions")),
        ("POST", "/ns/a/v1/completions", Match(Action.ASK_MODEL, "a", "/v1/completions")),
        ("POST", "/v1/embeddings", Match(Action.ASK_MODEL, None, "/v1/embeddings")),
        ("POST", "/ns/a/classify?x", Match(Action.ASK_MODEL, "a", "/classify")),
        ("GET", "/ns/a/v1/models", Match(Action.LIST_MODELS, "a")),
        ("GET", "/v1/models/wiki%3Ateam?x=1", Match(Action.GET_MODEL, None, "wiki:team")),
        ("GET", "/healthz", Match(Action.HEALTH, None)),
    ],
)
def test_paths_are_understood(method: str, target: str, expected: Match) -> None:
    assert match(method.encode(), target.encode()) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"detail": "no"}', "no"),
        (b'{"detail": [{"loc": 1}]}', '[{"loc": 1}]'),
        (b'{"error": "worker died"}', "worker died"),
        (b'{"error": {"message": "as OpenAI", "code": "x"}}', "as OpenAI"),
        (b"Internal Server Error", "Internal Server Error"),
        (b"", "the engine answered without a body"),
        (b"\xff", "\ufffd"),
    ],
)
def test_every_engines_error_becomes_openais(body: bytes, message: str) -> None:
    error = json.loads(engine_error_body(500, body))["error"]
    assert error["message"] == message


def test_usage_is_found_across_reads_and_not_inside_generated_text() -> None:
    usage = Usage()
    usage.feed(b'{"text": "\\"completion_tokens\\": 99", "usage": {"prompt_tok')
    usage.feed(b'ens": 3, "completion_tokens": 5}}')
    assert usage.tokens() == (3, 5)


def test_without_usage_the_events_of_a_stream_are_counted() -> None:
    usage = Usage()
    for _ in range(4):
        usage.feed(b'data: {"choices": []}\n\n')
    usage.feed(b"data: [DONE]\n\n")
    assert usage.tokens() == (0, 4)


def live(*endpoints: str, clock: Clock | None = None, **changes: Any) -> LiveRoute:
    found = LiveRoute(route(*endpoints), Limits(), clock or Clock())
    found.update(route(*endpoints, **changes))
    return found


def test_the_least_loaded_replica_is_chosen_and_ties_take_turns() -> None:
    one = live("a:1", "b:1", in_flight_per_replica=3)
    chosen = [one.take() for _ in range(6)]
    assert [replica and replica.endpoint for replica in chosen] == ["a:1", "b:1"] * 3
    assert one.take() is None
    assert chosen[1] is not None
    one.release(chosen[1])
    assert one.take() is chosen[1]


def test_a_replica_that_was_tried_comes_last_but_is_better_than_none() -> None:
    one = live("a:1", "b:1", in_flight_per_replica=1)
    first = one.take()
    assert first is not None
    one.release(first)
    second = one.take(tried={first})
    assert second is not None
    assert second is not first
    assert one.take(tried={first}) is first


async def test_an_ejected_replica_gets_nothing_until_its_last_ejection_is_over() -> None:
    one = live("a:1")
    replica = one.take()
    assert replica is not None
    one.eject(replica)
    one.eject(replica)
    one.release(replica)
    assert one.take() is None
    waiting = one.wait(first=False)
    one.readmit(replica)
    assert not waiting.done()
    one.readmit(replica)
    assert waiting.result() is replica


def test_replicas_that_stay_in_the_table_keep_their_load() -> None:
    one = live("a:1", in_flight_per_replica=1)
    kept = one.take()
    one.update(route("a:1", "b:1", in_flight_per_replica=1))
    assert kept is not None
    assert kept.in_flight == 1
    new = one.take()
    assert new is not None
    assert new.endpoint == "b:1"
    assert one.take() is None


def test_idle_time_counts_from_the_last_begin_or_end() -> None:
    clock = Clock()
    one = live("a:1", clock=clock)
    clock.now = 5
    assert one.sample().idle_seconds == 5
    one.arrive()
    replica = one.take()
    assert replica is not None
    clock.now = 9
    assert one.sample().idle_seconds == 0
    one.release(replica)
    clock.now = 12
    assert one.sample().idle_seconds == 3


def test_the_oldest_deployment_has_the_models_name() -> None:
    routes = Routes(Limits(), Clock())
    young = route(name="young", model="wiki", namespace="b", created=2)
    old = route(name="old", model="wiki", namespace="a", created=1)
    hidden = route(name="hidden", model="secret", namespace="a", shared=False)
    routes.apply(RouteTable(routes=[young, old, hidden]))
    found = routes.find(None, "wiki")
    assert found is not None
    assert found.live.route.name == "old"
    assert routes.find(None, "secret") is None
    assert routes.find("a", "secret") is not None
    assert [served.live.route.name for served in routes.models("b")] == ["young"]


TEXT_EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}'
USAGE_EVENT = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}'
FILTER_EVENT = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}'
DONE = b"data: [DONE]"


@pytest.mark.parametrize("gap", [b"\n\n", b"\r\n\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 64, 1000])
def test_only_the_event_of_the_usage_is_hidden_however_the_stream_is_cut(
    gap: bytes, size: int
) -> None:
    events = [FILTER_EVENT, TEXT_EVENT, TEXT_EVENT, USAGE_EVENT, DONE]
    stream = b"".join(event + gap for event in events)
    hider = WithoutUsage()
    shown = b"".join(hider.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert shown + hider.end() == stream.replace(USAGE_EVENT + gap, b"")


def test_whole_events_are_shown_at_once_and_large_ones_in_parts() -> None:
    hider = WithoutUsage()
    assert hider.feed(TEXT_EVENT + b"\n\n") == TEXT_EVENT + b"\n\n"
    assert hider.feed(TEXT_EVENT + b"\r\n\r\ndata") == TEXT_EVENT + b"\r\n\r\n"
    assert hider.feed(b": x") == b""
    assert hider.end() == b"data: x"
    assert hider.feed(b"x" * 100_000) == b"data: x" + b"x" * 100_000
    assert hider.end() == b""
