"""Which served name goes where."""

import json
from typing import Any

import pytest

from llmcloud.api.contract import ENGINE_PORT, ROUTES_CONFIG_MAP, ROUTES_KEY, RouteTable
from llmcloud.api.names import Kind
from llmcloud.plan.children import PodView, pod_view
from llmcloud.plan.model import Owner, from_timestamp
from llmcloud.plan.routes import RoutesWorld, holders, plan_routes, route_list, valid
from tests.support.worlds import MODEL_DIGEST, make_owner

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def deployment(name: str, created: str = OLD, served: str = "", **metadata: Any) -> Owner:
    spec = {"servedModelName": served} if served else {}
    status = {"model": {"digest": MODEL_DIGEST}}
    meta = {"uid": f"uid-{name}", "creationTimestamp": created, **metadata}
    return make_owner(Kind.DEPLOYMENT, name, spec=spec, status=status, **meta)


def replica(ip: str, *, ready: bool = True, deleting: bool = False) -> PodView:
    meta = {"name": ip, "uid": ip, **({"deletionTimestamp": NEW} if deleting else {})}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return pod_view({"metadata": meta, "status": {"podIP": ip, "conditions": conditions}})


def world(*deployments: Owner, **pods: tuple[PodView, ...]) -> RoutesWorld:
    namespaces = {owner.uid: owner.namespace for owner in deployments}
    keys = {name: (namespaces.get(f"uid-{name}", "elsewhere"), f"uid-{name}") for name in pods}
    return RoutesWorld("system", deployments, {keys[name]: pods[name] for name in pods})


@pytest.mark.parametrize(
    ("rivals", "holder"),
    [
        pytest.param([], None, id="nobody, if nobody asks"),
        pytest.param([deployment("a", served="wiki")], "a", id="who asks alone"),
        pytest.param([deployment("wiki")], "wiki", id="who bears the name"),
        pytest.param(
            [deployment("a", NEW, "wiki"), deployment("b", OLD, "wiki")], "b", id="the oldest"
        ),
        pytest.param(
            [deployment("b", served="wiki"), deployment("a", served="wiki")], "a",
            id="of two of one second, the first by name",
        ),
        pytest.param(
            [deployment("a", OLD, "wiki", deletionTimestamp=NEW), deployment("b", NEW, "wiki")],
            "b", id="not one that is going",
        ),
        pytest.param([deployment("a", served="!")], None, id="not one that is invalid"),
    ],
)  # fmt: skip
def test_who_has_a_name(rivals: list[Owner], holder: str | None) -> None:
    found = holders(valid(rivals)).get("wiki")
    assert (found.name if found else None) == holder


def test_only_replicas_that_answer_are_endpoints() -> None:
    pods = (
        replica("10.0.0.2"),
        replica("10.0.0.1"),
        replica("10.0.0.3", ready=False),
        replica("10.0.0.4", deleting=True),
        replica(""),
    )
    (route,) = route_list(world(deployment("a"), a=pods))
    assert route.endpoints == [f"10.0.0.1:{ENGINE_PORT}", f"10.0.0.2:{ENGINE_PORT}"]


def test_a_pod_of_another_namespace_gets_no_traffic_whatever_its_labels_say() -> None:
    owner = deployment("a")
    stranger = {("elsewhere", owner.uid): (replica("10.0.0.9"),)}
    (route,) = route_list(RoutesWorld("system", (owner,), stranger))
    assert route.endpoints == []


def test_a_label_that_is_no_number_is_attempt_zero() -> None:
    labels = {"llmcloud.dev/attempt": "x"}
    assert pod_view({"metadata": {"name": "p", "uid": "p", "labels": labels}}).attempt == 0


def test_every_deployment_has_a_route_and_one_has_the_shared_name() -> None:
    routes = route_list(world(deployment("b", NEW, "wiki"), deployment("a", OLD, "wiki")))
    assert [(r.name, r.model, r.shared) for r in routes] == [
        ("a", "wiki", True),
        ("b", "wiki", False),
    ]


def test_a_deployment_without_a_model_has_no_route() -> None:
    assert route_list(world(make_owner(Kind.DEPLOYMENT))) == []


def test_the_table_is_one_config_map_that_gateways_can_read() -> None:
    plan = plan_routes(world(deployment("a"), a=(replica("10.0.0.1"),)))
    (child,) = plan.applies
    assert (child["metadata"]["namespace"], child["metadata"]["name"]) == (
        "system",
        ROUTES_CONFIG_MAP,
    )
    table = RouteTable.model_validate(json.loads(child["data"][ROUTES_KEY]))
    assert [route.name for route in table.routes] == ["a"]
    assert plan.status is None


def test_prompts_and_labels_go_into_the_route() -> None:
    prompt = {"name": "short", "system": "Be short.", "user": "{input}!"}
    spec, status = {"prompts": [prompt]}, {"model": {"digest": MODEL_DIGEST}}
    owner = make_owner(Kind.DEPLOYMENT, spec=spec, status=status, labels={"team": "a"})
    (route,) = route_list(world(owner))
    assert [found.wire() for found in route.prompts] == [prompt]
    assert route.labels == {"team": "a"}


def starting(ip: str, created: str) -> PodView:
    conditions = [{"type": "Ready", "status": "False"}]
    meta = {"name": ip, "uid": ip, "creationTimestamp": created}
    return pod_view({"metadata": meta, "status": {"podIP": ip, "conditions": conditions}})


def test_gateways_are_told_when_the_oldest_replica_that_starts_is_expected() -> None:
    began, later = "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"
    measured = {"scheduleSeconds": 5, "pullSeconds": 20, "loadSeconds": 30, "warmUpSeconds": 5}
    status: dict[str, Any] = {"model": {"digest": MODEL_DIGEST}}
    meta: dict[str, Any] = {"uid": "uid-a", "creationTimestamp": OLD}
    pods = (starting("10.0.0.2", later), starting("10.0.0.1", began), replica("10.0.0.3"))
    unmeasured = make_owner(Kind.DEPLOYMENT, "a", status=status, **meta)
    (route,) = route_list(world(unmeasured, a=pods))
    assert route.replica_expected is None
    assert "replicaExpected" not in route.wire()
    status["scaling"] = {"coldStart": {"replica": "x", **measured}}
    owner = make_owner(Kind.DEPLOYMENT, "a", status=status, **meta)
    (route,) = route_list(world(owner, a=pods))
    assert route.replica_expected == from_timestamp(later).timestamp()
    (route,) = route_list(world(owner, a=pods[2:]))
    assert route.replica_expected is None


def test_an_engine_is_called_on_the_port_that_it_names() -> None:
    ports = [{"name": "report", "containerPort": 9090}, {"name": "http", "containerPort": 8081}]
    conditions = [{"type": "Ready", "status": "True"}]
    raw = {
        "metadata": {"name": "a", "uid": "a"},
        "spec": {"containers": [{"ports": ports}]},
        "status": {"podIP": "10.0.0.1", "conditions": conditions},
    }
    (route,) = route_list(world(deployment("wiki"), wiki=(pod_view(raw),)))
    assert route.endpoints == ["10.0.0.1:8081"]
