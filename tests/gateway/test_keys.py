"""Who gets in: keys by digest, what they open, and when they stop."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from llmcloud_gateway.keys import Keys
from llmcloud_gateway.limits import Limits
from tests.gateway.client import CHAT, chat, connect, get, post
from tests.gateway.conftest import StartEngine, StartGateway, route
from tests.gateway.records import KEY, bearer, record


async def test_a_key_opens_what_is_closed_and_lists_it(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway()
    gateway.serve(route(engine, anonymous=False), keys=[record()])
    assert (await post(gateway.port, CHAT, chat(), **bearer())).status == 200
    async with connect(gateway.port) as client:
        listed = await client.ask("GET", "/v1/models", b"", **bearer())
        assert [model["id"] for model in listed.json["data"]] == ["wiki"]
        assert (await client.ask("GET", "/v1/models/wiki", b"", **bearer())).status == 200
    assert (await get(gateway.port, "/v1/models")).json["data"] == []


@pytest.mark.parametrize(
    ("sent", "spec", "status", "reason"),
    [
        ({}, {}, 401, "KeyRequired"),
        ({"authorization": "Bearer"}, {}, 401, "KeyRequired"),
        ({"authorization": f"Basic {KEY}"}, {}, 401, "KeyRequired"),
        ({"authorization": f"Bearer {KEY} {KEY}"}, {}, 401, "KeyRequired"),
        (bearer("other"), {}, 401, "KeyUnknown"),
        (bearer(hashlib.sha256(KEY.encode()).hexdigest()), {}, 401, "KeyUnknown"),
        (bearer(), {"disabled": True}, 401, "KeyDisabled"),
        (bearer(), {"expiresAt": "2026-01-01T00:00:00Z"}, 401, "KeyExpired"),
        (bearer(), {"deployments": {"names": ["code"]}}, 403, "ModelNotAllowed"),
        (bearer(), {"deployments": {"names": ["code", "wiki"]}}, 200, ""),
        (bearer(), {"deployments": {"selector": {"matchLabels": {"for": "us"}}}}, 200, ""),
        (
            bearer(),
            {"deployments": {"selector": {"matchLabels": {"for": "them"}}}},
            403,
            "ModelNotAllowed",
        ),
        ({"authorization": f"bEARER   {KEY} "}, {"expiresAt": "2999-01-01T00:00:00Z"}, 200, ""),
    ],
)
async def test_what_a_request_may_call(
    start_gateway: StartGateway,
    start_engine: StartEngine,
    sent: dict[str, str],
    spec: dict[str, Any],
    status: int,
    reason: str,
) -> None:
    engine = await start_engine()
    gateway = await start_gateway()
    closed = route(engine, anonymous=False, labels={"for": "us"})
    gateway.serve(closed, keys=[record(**spec)])
    answer = await post(gateway.port, CHAT, chat(), **sent)
    assert answer.status == status
    assert answer.headers.get("x-llmcloud-reason", "") == reason
    assert len(engine.asked) == (1 if status == 200 else 0)
    if status == 401:
        assert answer.error["code"] == "invalid_api_key"
        assert answer.error["type"] == "authentication_error"


async def test_a_key_opens_nothing_in_another_namespace(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    engine = await start_engine()
    gateway = await start_gateway()
    gateway.serve(route(engine, anonymous=False), keys=[record(namespace="team-b")])
    answer = await post(gateway.port, CHAT, chat(), **bearer())
    assert (answer.status, answer.headers["x-llmcloud-reason"]) == (403, "ModelNotAllowed")
    answer = await post(gateway.port, "/ns/team-a" + CHAT, chat(), **bearer())
    assert answer.status == 403


async def test_an_open_deployment_asks_for_no_key_and_looks_at_none(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway()
    gateway.serve(route(await start_engine()), keys=[record(disabled=True)])
    assert (await post(gateway.port, CHAT, chat(), **bearer())).status == 200
    assert (await post(gateway.port, CHAT, chat(), **bearer("any"))).status == 200


async def test_a_revoked_key_opens_nothing_on_a_connection_that_it_had_opened(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway()
    gateway.serve(route(await start_engine(), anonymous=False), keys=[record()])
    async with connect(gateway.port) as client:
        assert (await client.ask("POST", CHAT, chat(), **bearer())).status == 200
        gateway.keys.put(record(disabled=True))
        assert (await client.ask("POST", CHAT, chat(), **bearer())).status == 401
        gateway.keys.put(record())
        assert (await client.ask("POST", CHAT, chat(), **bearer())).status == 200
        gateway.keys.remove("team-a", "ci")
        assert (await client.ask("POST", CHAT, chat(), **bearer())).status == 401


async def test_before_the_keys_are_read_nothing_is_refused_for_good(
    start_gateway: StartGateway, start_engine: StartEngine
) -> None:
    gateway = await start_gateway(route(await start_engine(), anonymous=False))
    gateway.keys.loaded = False
    assert (await post(gateway.port, CHAT, chat(), **bearer())).status == 503
    assert (await get(gateway.report_port, "/ready")).status == 503


def test_a_key_expires_to_the_second() -> None:
    now = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    keys = Keys(lambda: now, Limits())
    keys.replace([record(expiresAt="2027-01-01T00:00:01Z")])
    headers = {b"authorization": f"Bearer {KEY}".encode()}
    presented = keys.presented(headers)
    assert presented.opening(route()) is not None
    now += 1
    assert presented.opening(route()) is None


def test_one_key_in_several_objects_opens_what_any_of_them_does_the_oldest_first() -> None:
    keys = Keys(lambda: 0.0, Limits())
    wiki, both = {"names": ["wiki"]}, {"names": ["wiki", "code"]}
    keys.replace(
        [
            record(name="young", created="2027", deployments=both),
            record(name="old", created="2026", deployments=wiki),
        ]
    )
    presented = keys.presented({b"authorization": f"Bearer {KEY}".encode()})
    for name, holder in (("wiki", "old"), ("code", "young")):
        key = presented.opening(route(name=name))
        assert key is not None
        assert key.record.name == holder
    assert presented.opening(route(name="other")) is None


def test_a_changed_digest_forgets_the_former() -> None:
    keys = Keys(lambda: 0.0, Limits())
    keys.put(record("first"))
    keys.put(record("second"))
    for key, opens in (("first", False), ("second", True)):
        presented = keys.presented({b"authorization": f"Bearer {key}".encode()})
        assert (presented.opening(route()) is not None) is opens
