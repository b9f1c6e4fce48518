"""Adapters: where they lie, what pods are told, when they are routed to."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from llmcloud.api.adapter import AdapterReport, WantedAdapter, WantedAdapters
from llmcloud.api.names import ANNOTATION_ADAPTERS, Kind
from llmcloud.plan.adapters import LOOK_AGAIN_SECONDS, AdapterView
from llmcloud.plan.autoscaling import ScalingView
from llmcloud.plan.children import ANNOTATION_DELETION_COST, PodView, pod_view
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld, EngineView
from llmcloud.plan.model import Manifest, Owner, Plan
from llmcloud.plan.revisions import revision_of
from llmcloud.plan.routes import RoutesWorld, route_list
from llmcloud.scaling.observation import Decision
from tests.support.worlds import (
    DEFAULTS,
    MODEL_DIGEST,
    NOW,
    complete_training,
    make_owner,
    ready_store,
)

STORED = {"name": "stored", "model": {"store": {"name": "work", "path": "adapters/b/"}}}
TRAINED = {"name": "trained", "model": {"trainingJob": {"name": "tuned"}}}
STORE = ready_store()
SCALING = {"scaling": {"maxReplicas": 2}}


def tuned(kind: str = "adapter") -> Owner:
    """A job that made an adapter."""
    job = complete_training("tuned")
    job.status["model"]["kind"] = kind
    return job


def replica(name: str, ready: bool = True, annotations: Manifest | None = None) -> PodView:
    meta = {"name": name, "uid": f"uid-{name}", "annotations": annotations or {}}
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"podIP": "10.0.0.1", "phase": "Running", "conditions": conditions}
    return pod_view({"metadata": meta, "status": status})


def planned(
    *adapters: Manifest,
    job: Owner | None = None,
    pods: tuple[PodView, ...] = (),
    reports: Mapping[str, AdapterReport] | None = None,
    status: Manifest | None = None,
    wanted: int = 1,
    loads: Mapping[str, int] | None = None,
) -> Plan:
    owner = make_owner(Kind.DEPLOYMENT, spec={"adapters": list(adapters), **SCALING}, status=status)
    views = tuple(
        AdapterView(a["name"], job if "trainingJob" in a["model"] else None, STORE)
        for a in adapters
    )
    world = DeploymentWorld(
        owner,
        complete_training(),
        STORE,
        (),
        (),
        NOW,
        ScalingView(Decision(wanted, "asked"), None, loads or {}),
        adapters=views,
        adapter_reports=reports or {},
    )
    (engine,) = [c for c in plan_deployment(world, DEFAULTS).applies if c["kind"] == "Deployment"]
    revision = revision_of(engine)
    there = EngineView(len(pods), len(pods), "", len(pods), revision=revision)
    running = tuple(dataclasses.replace(pod, revision=revision) for pod in pods)
    return plan_deployment(dataclasses.replace(world, engines=(there,), pods=running), DEFAULTS)


def told(plan: Plan) -> dict[str, Manifest]:
    """Annotations that are applied, by pod."""
    pods = [child["metadata"] for child in plan.applies if child["kind"] == "Pod"]
    return {meta["name"]: meta["annotations"] for meta in pods}


def wanted_in(annotations: Manifest) -> dict[str, WantedAdapter]:
    text = annotations[ANNOTATION_ADAPTERS]
    return {one.name: one for one in WantedAdapters.model_validate_json(text).adapters}


def adapters_of(plan: Plan) -> dict[str, Manifest]:
    assert plan.status is not None
    return {one["name"]: one for one in plan.status["adapters"]}


def template(plan: Plan) -> Manifest:
    (child,) = [child for child in plan.applies if child["kind"] == "Deployment"]
    pod: Manifest = child["spec"]["template"]
    return pod


def test_replicas_are_told_where_adapters_lie() -> None:
    plan = planned(STORED, TRAINED, job=tuned(), pods=(replica("a"),))
    wanted = wanted_in(told(plan)["a"])
    assert (wanted["stored"].path, wanted["stored"].digest) == ("adapters/b/", None)
    assert (wanted["trained"].path, wanted["trained"].digest) == ("models/a/", MODEL_DIGEST)
    assert wanted["trained"].store.bucket == "team-a"


def test_a_change_of_adapters_is_no_change_of_the_template() -> None:
    one, two = planned(STORED), planned(STORED, TRAINED, job=tuned())
    assert template(one) == template(two)
    assert template(one) != template(planned())


def test_a_replica_that_knows_is_told_nothing() -> None:
    annotations = told(planned(STORED, pods=(replica("a"),)))["a"]
    known = replica("a", annotations=annotations)
    assert told(planned(STORED, pods=(known, replica("b")), wanted=2)).keys() == {"b"}


def test_what_is_said_of_a_replica_is_said_in_one_apply() -> None:
    pods = (replica("a"), replica("b"))
    loads = {"10.0.0.1:8000": 3}
    annotations = told(planned(STORED, pods=pods, loads=loads))
    assert all(set(said) == {ANNOTATION_DELETION_COST, ANNOTATION_ADAPTERS}
               for said in annotations.values())  # fmt: skip
    cost = {ANNOTATION_DELETION_COST: "3"}
    (kept,) = told(planned(STORED, pods=(replica("a", annotations=cost),))).values()
    assert kept[ANNOTATION_DELETION_COST] == "3"


def key_of(name: str) -> str:
    return wanted_in(told(planned(STORED, TRAINED, job=tuned(), pods=(replica("a"),)))["a"])[
        name
    ].key


@pytest.mark.parametrize(
    ("loaded", "ready", "message"),
    [
        pytest.param([{"stored"}, {"stored"}], True, None, id="by all"),
        pytest.param([{"stored"}, set()], False, "1 of 2 replicas have", id="by one of two"),
        pytest.param([{"stored"}, None], False, "1 of 2 replicas have", id="one that is silent"),
        pytest.param([], False, "0 of 0 replicas have", id="by none that answers"),
    ],
)
def test_an_adapter_is_ready_when_every_replica_serves_it(
    loaded: list[set[str] | None], ready: bool, message: str | None
) -> None:
    pods = tuple(replica(f"pod-{n}") for n in range(len(loaded)))
    reports = {
        pod.name: AdapterReport(loaded={name: key_of(name) for name in names})
        for pod, names in zip(pods, loaded, strict=True)
        if names is not None
    }
    plan = planned(STORED, pods=(*pods, replica("new", ready=False)), reports=reports)
    status = adapters_of(plan)["stored"]
    assert status["ready"] is ready
    assert message is None or message in status["message"]
    assert plan.requeue_seconds == (LOOK_AGAIN_SECONDS if pods and not ready else None)


def test_why_an_adapter_fails_is_in_the_status() -> None:
    reports = {"a": AdapterReport(failed={"stored": "There is no model at s3://x"})}
    plan = planned(STORED, pods=(replica("a"),), reports=reports)
    assert adapters_of(plan)["stored"]["message"] == "There is no model at s3://x"


def test_the_earlier_version_is_not_the_one_that_is_asked_for() -> None:
    reports = {"a": AdapterReport(loaded={"stored": "another key"})}
    plan = planned(STORED, pods=(replica("a"),), reports=reports)
    assert adapters_of(plan)["stored"]["ready"] is False


@pytest.mark.parametrize(
    ("job", "words"),
    [
        pytest.param(None, "does not exist", id="no job"),
        pytest.param(make_owner(Kind.TRAINING_JOB, "tuned"), "has no adapter yet", id="not ended"),
        pytest.param(tuned("full"), "made a model of its own", id="no adapter"),
    ],
)
def test_one_that_is_missing_keeps_nobody_waiting(job: Owner | None, words: str) -> None:
    plan = planned(STORED, TRAINED, job=job, pods=(replica("a"),))
    assert wanted_in(told(plan)["a"]).keys() == {"stored"}
    assert words in adapters_of(plan)["trained"]["message"]
    assert "model" not in adapters_of(plan)["trained"]


def test_an_adapter_outlives_the_object_of_its_job() -> None:
    first = planned(TRAINED, job=tuned(), pods=(replica("a"),))
    again = planned(TRAINED, job=None, pods=(replica("a"),), status=first.status)
    assert told(again) == told(first)


def test_gateways_are_told_of_adapters_that_are_ready() -> None:
    def route(status: list[Manifest], *adapters: Manifest) -> list[str]:
        members: Any = {"model": {"digest": MODEL_DIGEST}, "adapters": status}
        owner = make_owner(Kind.DEPLOYMENT, spec={"adapters": list(adapters)}, status=members)
        (found,) = route_list(RoutesWorld("system", (owner,), {}))
        return found.adapters

    ready = [{"name": "stored", "ready": True}, {"name": "trained", "ready": False}]
    assert route(ready, STORED, TRAINED) == ["stored"]
    assert route(ready, TRAINED) == []
