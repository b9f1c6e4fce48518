"""Whatever is asked for, the table of routes is bounded, and nobody loses a route to others."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.contract import ROUTES_KEY
from llmcloud.api.names import Kind, Reason
from llmcloud.plan.children import PodView, pod_view
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld
from llmcloud.plan.model import Manifest, Owner
from llmcloud.plan.route_room import TABLE_BYTES, Claim, fair_shares, left_out
from llmcloud.plan.routes import RoutesWorld, plan_routes, route_list, unrouted, valid
from tests.support.worlds import (
    DEFAULTS,
    MODEL_DIGEST,
    NOW,
    by_type,
    complete_training,
    make_owner,
    ready_store,
    said,
)

GREEDY = [{"name": f"p{n}", "system": "\x00" * 16384, "user": "{input}"} for n in range(2)]
"""Each character takes six bytes in JSON."""


def deployment(name: str, namespace: str = "greedy", **members: Any) -> Owner:
    spec = {"scaling": {"maxReplicas": 4}, **members.pop("spec", {})}
    status = {"model": {"digest": MODEL_DIGEST, "revision": "a"}, **members.pop("status", {})}
    uid = f"uid-{namespace}-{name}"
    return make_owner(
        Kind.DEPLOYMENT, name, spec=spec, status=status, namespace=namespace, uid=uid, **members
    )


def replica(number: int, revision: str = "a") -> PodView:
    labels = {"llmcloud.dev/revision": revision, "app.kubernetes.io/component": "engine"}
    status = {
        "podIP": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    meta = {"name": str(number), "uid": str(number), "labels": labels}
    return pod_view({"metadata": meta, "status": status})


@pytest.mark.parametrize(
    ("wanted", "room", "shares"),
    [
        pytest.param({"a": 10, "b": 20}, 100, {"a": 10, "b": 20}, id="all fits"),
        pytest.param({"a": 10, "b": 200}, 100, {"a": 10, "b": 90}, id="what is left"),
        pytest.param({"a": 200, "b": 300}, 100, {"a": 50, "b": 50}, id="equal shares"),
        pytest.param({"a": 10, "b": 60, "c": 80}, 100, {"a": 10, "b": 45, "c": 45}, id="both"),
        pytest.param({}, 100, {}, id="nobody"),
    ],
)
def test_shares_are_max_min_fair(wanted: Any, room: int, shares: Any) -> None:
    assert fair_shares(wanted, room) == shares


def test_in_a_namespace_the_youngest_are_left_out() -> None:
    names = ("third", "first", "second")
    days = {"first": 1, "second": 2, "third": 3}
    owners = [
        deployment(name, creationTimestamp=f"2026-01-0{days[name]}T00:00:00Z") for name in names
    ]
    assert set(left_out([Claim(owner, 40) for owner in owners], 100)) == {owners[0].uid}


def test_a_greedy_namespace_takes_no_route_of_others() -> None:
    modest = [deployment(f"m{n}", f"team-{n}") for n in range(20)]
    greedy = [deployment(f"g{n}", spec={"prompts": GREEDY}) for n in range(10)]
    world = RoutesWorld("system", (*greedy, *modest), {})
    names = [route.name for route in route_list(world)]
    assert {owner.name for owner in modest} < set(names)
    assert 0 < len(names) - len(modest) < len(greedy)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    labels=st.sampled_from([0, 100, 3000]),
    prompts=st.booleans(),
    most=st.sampled_from([1, 8, 1000]),
    canary=st.booleans(),
    count=st.integers(1, 8),
    namespaces=st.integers(1, 4),
    pods=st.sampled_from([0, 3, 60]),
)
def test_the_table_is_bounded_whatever_is_asked_for(
    labels: int, prompts: bool, most: int, canary: bool, count: int, namespaces: int, pods: int
) -> None:
    spec: Manifest = {"scaling": {"maxReplicas": most}, "prompts": GREEDY if prompts else []}
    if canary:
        spec["rollout"] = {"canary": {"steps": [10]}}
    told = {"canary": {"revision": "b", "weight": 10, "stepStartTime": "2026-05-01T00:00:00Z"}}
    own = {f"label-{n}": "x" * 63 for n in range(labels)}
    owners = [
        deployment(
            str(n), f"ns-{n % namespaces}", spec=spec, status=told if canary else {}, labels=own
        )
        for n in range(count)
    ]
    running = tuple(replica(n, "b" if n % 2 else "a") for n in range(pods))
    world = RoutesWorld("system", tuple(owners), {(o.namespace, o.uid): running for o in owners})
    (table,) = plan_routes(world).applies
    assert len(table["data"][ROUTES_KEY]) <= TABLE_BYTES
    modest = labels < 500 and not prompts and most <= 8
    assert not (modest and unrouted(valid(owners)))


def test_what_is_left_out_says_so_with_the_remedy() -> None:
    owner = deployment("it")
    why = left_out([Claim(owner, 11)], 10)[owner.uid]
    world = DeploymentWorld(owner, complete_training(), ready_store(), (), (), NOW, unrouted=why)
    status = plan_deployment(world, DEFAULTS).status
    assert said(status) == ("False", Reason.ROUTE_TOO_LARGE)
    message = by_type(status)["Stalled"]["message"]
    assert all(word in message for word in ("11 bytes", "Shorten prompts", "maxReplicas"))
