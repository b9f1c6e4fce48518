"""Replicas of several nodes: one StatefulSet a rank, counted and called by their leaders."""

from dataclasses import replace
from typing import Any

import pytest

from llmcloud.api.names import LABEL_COMPONENT, LABEL_RANK, LABEL_REVISION, Kind, Reason
from llmcloud.plan.accelerators import Accelerator, Catalogue, Pool
from llmcloud.plan.autoscaling import ScalingView
from llmcloud.plan.children import PodView, pod_view
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld, EngineView, engine_view
from llmcloud.plan.model import Manifest, Plan
from llmcloud.scaling.observation import Decision
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    complete_training,
    make_owner,
    make_pod,
    ready_store,
    said,
    unschedulable,
)

H100 = {"accelerator": "nvidia-h100", "count": 8}
PLACES = Catalogue(accelerators={"nvidia-h100": Accelerator(pools=[Pool(labels={"gpu": ["h"]})])})
ONE = {"accelerator": "nvidia-h100"}


def planned(
    nodes: int = 2,
    wanted: int = 2,
    pods: tuple[PodView, ...] = (),
    engines: tuple[EngineView, ...] = (),
    followers: tuple[EngineView, ...] = (),
    workers: tuple[PodView, ...] = (),
    status: Manifest | None = None,
    name: str = "it",
    **spec: Any,
) -> Plan:
    members = {
        "resources": H100,
        "nodes": {"min": nodes, "max": nodes},
        "scaling": {"maxReplicas": 4},
        **spec,
    }
    owner = make_owner(Kind.DEPLOYMENT, name, spec=members, status=status)
    world = DeploymentWorld(
        owner,
        complete_training(),
        ready_store(),
        engines,
        pods,
        NOW,
        ScalingView(Decision(wanted, "asked")),
        nodes=({"gpu": "h"},),
        followers=followers,
        workers=workers,
    )
    return plan_deployment(world, replace(DEFAULTS, catalogue=PLACES))


def raw_sets(plan: Plan) -> list[Manifest]:
    """The StatefulSets in the order in which they are applied."""
    return [child for child in plan.applies if child["kind"] == "StatefulSet"]


def sets(plan: Plan) -> dict[str, Manifest]:
    """Their specifications by rank."""
    return {one["metadata"]["labels"][LABEL_RANK]: one["spec"] for one in raw_sets(plan)}


def made(plan: Plan, ready: int = 0) -> tuple[tuple[EngineView, ...], tuple[EngineView, ...]]:
    """The leaders and the followers, as they are once the plan was carried out."""
    views = []
    for one in raw_sets(plan):
        meta = {**one["metadata"], "uid": one["metadata"]["name"], "generation": 1}
        status = {"readyReplicas": ready, "updatedReplicas": ready, "observedGeneration": 1}
        views.append(engine_view({**one, "metadata": meta, "status": status}))
    return tuple(views[-1:]), tuple(views[:-1])


def container(spec: Manifest) -> Manifest:
    (only,) = spec["template"]["spec"]["containers"]
    found: Manifest = only
    return found


def option(spec: Manifest, name: str) -> str:
    arguments: list[str] = container(spec)["args"]
    return arguments[arguments.index(name) + 1]


def leader(plan: Plan, index: int, *, deleting: bool = False) -> PodView:
    """A leading pod of the revision that was planned."""
    labels = {
        LABEL_COMPONENT: "engine",
        LABEL_REVISION: revision(plan),
        "apps.kubernetes.io/pod-index": str(index),
    }
    meta: Manifest = {"name": f"leader-{index}", "uid": str(index), "labels": labels}
    if deleting:
        meta["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    return pod_view({"metadata": meta, "status": {"phase": "Running"}})


def revision(plan: Plan) -> str:
    found: str = raw_sets(plan)[-1]["metadata"]["labels"][LABEL_REVISION]
    return found


def test_each_rank_has_a_pod_for_each_replica_and_they_meet_at_the_first() -> None:
    plan = planned(nodes=3)
    first = revision(plan)
    names = [one["metadata"]["name"] for one in raw_sets(plan)]
    assert names == [f"it-{first}-n{rank}" for rank in (1, 2, 0)]
    for rank, spec in sets(plan).items():
        assert spec["replicas"] == 2
        assert option(spec, "--node-rank") == rank
        assert option(spec, "--nnodes") == option(spec, "--pipeline-parallel-size") == "3"
        assert option(spec, "--tensor-parallel-size") == "8"
        env = {one["name"]: one.get("value") for one in container(spec)["env"]}
        assert env["LEADER"] == f"it-{first}-n0-$(GROUP).it-nodes.ns.svc"
        assert ("--headless" in container(spec)["args"]) is (rank != "0")


def test_only_the_leader_is_called_and_says_that_it_is_ready() -> None:
    ranks = sets(planned())
    leading, following = ranks["0"]["template"], ranks["1"]["template"]
    assert leading["metadata"]["labels"][LABEL_COMPONENT] == "engine"
    assert following["metadata"]["labels"][LABEL_COMPONENT] == "engine-worker"
    assert [one["name"] for one in leading["spec"]["initContainers"]] == ["fetch-model", "sidecar"]
    assert [one["name"] for one in following["spec"]["initContainers"]] == ["fetch-model"]
    assert "ports" not in container(ranks["1"])


def test_pods_of_two_revisions_do_not_meet() -> None:
    longer = {"name": "vllm", "args": ["--max-model-len", "4096"]}
    one, other = planned(), planned(engine=longer)
    assert revision(one) != revision(other)


def test_workers_stay_until_their_leader_is_gone() -> None:
    first = planned()
    engines, followers = made(first, ready=2)
    assert first.status is not None
    known: dict[str, Any] = {
        "engines": engines, "followers": followers, "status": first.status, "wanted": 1,
    }  # fmt: skip
    both = (leader(first, 0), leader(first, 1, deleting=True))
    going = sets(planned(pods=both, **known))
    assert (going["0"]["replicas"], going["1"]["replicas"]) == (1, 2)
    gone = sets(planned(pods=both[:1], **known))
    assert (gone["0"]["replicas"], gone["1"]["replicas"]) == (1, 1)


def test_the_ranks_of_a_revision_that_goes_leave_when_its_leaders_have() -> None:
    old = planned(wanted=1)
    engines, followers = made(old, ready=1)
    known: dict[str, Any] = {
        "followers": followers, "status": {"nodes": 2, "model": {"revision": "gone"}},
    }  # fmt: skip
    still = planned(nodes=1, wanted=0, pods=(leader(old, 0, deleting=True),), **known)
    assert still.deletes == ()
    assert still.status is not None
    assert still.status["nodes"] == 2
    done = planned(nodes=1, wanted=0, **known)
    assert [(ref.kind, ref.name) for ref in done.deletes] == [
        ("StatefulSet", f"it-{revision(old)}-n1")
    ]
    after = planned(nodes=1, wanted=0, status=done.status)
    assert after.status is not None
    assert "nodes" not in after.status
    assert engines[0].revision == revision(old)


def test_a_worker_without_a_node_is_why_a_replica_is_not_ready() -> None:
    first = planned()
    engines, followers = made(first)
    assert first.status is not None
    waiting = replace(make_pod(**unschedulable("no GPU")), revision=revision(first))
    plan = planned(engines=engines, followers=followers, workers=(waiting,), status=first.status)
    assert said(plan.status) == ("False", Reason.UNSCHEDULABLE)


@pytest.mark.parametrize("leads", [True, False])
def test_a_pod_that_the_cluster_refuses_is_told_of_any_rank(leads: bool) -> None:
    first = planned()
    engines, followers = made(first)
    assert all(one.lacking for one in (*engines, *followers))
    words = ("older", "exceeded quota: gpus")
    refused = tuple(engine_view(one.raw, words) for one in (engines if leads else followers))
    leaders, workers = (refused, followers) if leads else (engines, refused)
    plan = planned(status=first.status, engines=leaders, followers=workers)
    assert said(plan.status) == ("False", Reason.POD_REFUSED)
    assert plan.requeue_seconds == 8.0
    healed = planned(status=first.status, engines=engines, followers=followers)
    assert said(healed.status) == ("False", Reason.REPLICAS_NOT_READY)


def test_a_set_that_has_its_pods_needs_no_events() -> None:
    (leading, *_), _ = made(planned())
    assert not engine_view({**leading.raw, "status": {"replicas": 2}}, ()).lacking


def test_the_pods_of_a_replica_may_call_each_other() -> None:
    (policy,) = [child for child in planned().applies if child["kind"] == "NetworkPolicy"]
    own = policy["spec"]["podSelector"]
    assert {"from": [{"podSelector": own}]} in policy["spec"]["ingress"]
    (policy,) = [child for child in planned(1).applies if child["kind"] == "NetworkPolicy"]
    assert {"from": [{"podSelector": own}]} not in policy["spec"]["ingress"]


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"engine": {"name": "transformers"}, "resources": ONE}, id="transformers"),
        pytest.param({"name": "a" * 41}, id="a name too long for labels"),
    ],
)
def test_what_cannot_be_spread_over_nodes_waits(members: dict[str, Any]) -> None:
    plan = planned(**members)
    assert plan.applies == ()
    assert said(plan.status) == ("False", Reason.SPEC_INVALID)
