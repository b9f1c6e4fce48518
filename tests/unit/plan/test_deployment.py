"""LLMDeployment: pin the model, follow the load, tell the truth about the replicas."""

from typing import Any

import pytest

from llmcloud.api.names import Kind, Reason
from llmcloud.plan.children import PodView
from llmcloud.plan.deployment import DeploymentWorld, EngineView, engine_view, plan_deployment
from llmcloud.plan.model import Manifest, Owner, Plan, timestamp
from llmcloud.scaling.decide import Load
from tests.support.worlds import (
    DEFAULTS,
    MODEL_DIGEST,
    NOW,
    at,
    by_type,
    complete_training,
    ended,
    make_owner,
    make_pod,
    ready_store,
    said,
    unschedulable,
)

TRAINED = complete_training()
STORE = ready_store()
IDLE = Load(0, 0, 5000.0, 0, 5000.0)
ONE_WAITS = Load(0, 1, 0.0, 1, 5000.0)
EXTERNAL = {"replicas": 2, "scaling": {"mode": "External"}}


def world(
    *,
    job: Owner | None = TRAINED,
    store: Owner | None = STORE,
    engine: EngineView | None = None,
    pods: tuple[PodView, ...] = (),
    load: Load | None = None,
    taken: str = "",
    spec: Manifest | None = None,
    status: Manifest | None = None,
    seconds: float = 0,
    **metadata: Any,
) -> DeploymentWorld:
    owner = make_owner(Kind.DEPLOYMENT, spec=spec, status=status, **metadata)
    return DeploymentWorld(owner, job, store, engine, pods, at(seconds), load, taken)


def plan(**members: Any) -> Plan:
    return plan_deployment(world(**members), DEFAULTS)


def status_of(planned: Plan) -> Manifest:
    assert planned.status is not None
    return planned.status


def replicas_of(planned: Plan) -> int:
    (child,) = planned.applies
    replicas: int = child["spec"]["replicas"]
    return replicas


def running(ready: int, replicas: int = 1, refused: str = "") -> EngineView:
    return EngineView(replicas, ready, refused, replicas)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        pytest.param({"job": None}, Reason.TRAINING_JOB_NOT_FOUND, id="its training job"),
        pytest.param(
            {"job": make_owner(Kind.TRAINING_JOB, "train")}, Reason.MODEL_NOT_READY,
            id="its training job's model",
        ),
        pytest.param({"store": None}, Reason.STORE_NOT_FOUND, id="the model's store"),
        pytest.param(
            {"spec": {"model": {"store": {"name": "work"}}}, "store": None},
            Reason.STORE_NOT_FOUND, id="the store that it names",
        ),
        pytest.param({"spec": {"model": {}}}, Reason.SPEC_INVALID, id="a model to be named"),
    ],
)  # fmt: skip
def test_a_deployment_waits_for(missing: dict[str, Any], reason: Reason) -> None:
    planned = plan(**missing)
    assert said(planned.status) == ("False", reason)
    assert planned.applies == ()


def test_the_model_is_pinned_and_its_digest_checked_by_the_fetcher() -> None:
    planned = plan()
    (fetch,) = planned.applies[0]["spec"]["template"]["spec"]["initContainers"]
    assert status_of(planned)["model"] == {
        "digest": MODEL_DIGEST,
        "trainingJob": "train",
        "url": "s3://team-a/models/a/model/",
        "store": "work",
        "path": "models/a/",
    }
    assert MODEL_DIGEST in fetch["env"][0]["value"]


def test_a_model_from_a_store_has_no_digest_to_check() -> None:
    planned = plan(spec={"model": {"store": {"name": "work", "path": "m/"}}}, job=None)
    assert status_of(planned)["model"] == {
        "url": "s3://team-a/m/",
        "store": "work",
        "path": "m/",
    }


@pytest.mark.parametrize(
    ("members", "replicas"),
    [
        pytest.param({}, 0, id="a new one begins with the fewest: none"),
        pytest.param({"spec": {"scaling": {"minReplicas": 2, "maxReplicas": 3}}}, 2, id="or two"),
        pytest.param(
            {"engine": running(0, 0), "load": ONE_WAITS}, 1, id="0 to 1 when a request waits"
        ),
        pytest.param({"engine": running(1), "load": IDLE}, 0, id="1 to 0 after silence"),
        pytest.param({"engine": running(1)}, 1, id="without samples what is there is held"),
        pytest.param({"spec": EXTERNAL}, 2, id="mode External obeys spec.replicas"),
        pytest.param(
            {"spec": EXTERNAL, "engine": running(2, 2), "load": IDLE}, 2, id="whatever the load"
        ),
    ],
)
def test_how_many_replicas(members: dict[str, Any], replicas: int) -> None:
    planned = plan(**members)
    assert replicas_of(planned) == replicas
    assert status_of(planned)["desiredReplicas"] == replicas


@pytest.mark.parametrize(
    ("members", "word", "reason"),
    [
        pytest.param({}, "True", Reason.SCALED_TO_ZERO, id="no replica is wanted"),
        pytest.param({"engine": running(1)}, "True", Reason.SERVING, id="all replicas answer"),
        pytest.param(
            {"engine": running(0)}, "False", Reason.REPLICAS_NOT_READY, id="the only one starts"
        ),
        pytest.param(
            {"spec": EXTERNAL, "engine": running(1, 2)}, "True", Reason.REPLICAS_NOT_READY,
            id="one of two answers",
        ),
        pytest.param(
            {"engine": running(0, refused="exceeded quota: gpus")}, "False", Reason.POD_REFUSED,
            id="the cluster refuses pods",
        ),
        pytest.param(
            {"engine": running(0), "pods": (make_pod(**unschedulable("0/1 nodes.")),)},
            "False", Reason.UNSCHEDULABLE, id="no node takes it",
        ),
        pytest.param(
            {"engine": running(0), "pods": (make_pod(phase="Running", **ended(137, "OOMKilled")),)},
            "False", Reason.OUT_OF_MEMORY, id="it needs more memory",
        ),
        pytest.param(
            {"engine": running(1), "taken": "other/wiki"}, "False", Reason.ROUTE_CONFLICT,
            id="an older one has the name",
        ),
    ],
)  # fmt: skip
def test_what_is_told(members: dict[str, Any], word: str, reason: Reason) -> None:
    assert said(plan(**members).status) == (word, reason)


def test_autoscaling_is_not_reconciling() -> None:
    planned = plan(spec=EXTERNAL, engine=running(1, 2))
    assert by_type(planned.status)["Reconciling"]["status"] == "False"


def test_a_conflict_is_told_with_both_addresses_and_still_served() -> None:
    planned = plan(engine=running(1), taken="other/wiki", spec={"servedModelName": "wiki"})
    assert status_of(planned)["url"] == "http://gateway/ns/ns/v1"
    message = by_type(planned.status)["Stalled"]["message"]
    assert all(word in message for word in ("other/wiki", "/ns/ns/v1", "servedModelName"))
    assert replicas_of(planned) == 1


def test_the_time_of_scaling_moves_with_the_number_only() -> None:
    first = status_of(plan(engine=running(0, 0), load=ONE_WAITS))
    again = plan(engine=running(0), load=ONE_WAITS, status=first, seconds=60)
    assert status_of(again)["scaling"] == first["scaling"]
    assert first["scaling"]["lastScaleTime"] == timestamp(NOW)
    down = plan(engine=running(1), load=IDLE, status=first, seconds=60)
    assert status_of(down)["scaling"]["lastScaleTime"] == timestamp(at(60))


def test_the_selector_is_what_the_engine_has() -> None:
    planned = plan()
    labels = planned.applies[0]["spec"]["selector"]["matchLabels"]
    wanted = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    assert status_of(planned)["selector"] == wanted
    assert labels.items() <= planned.applies[0]["spec"]["template"]["metadata"]["labels"].items()


def test_an_invalid_deployment_keeps_what_is_known() -> None:
    planned = plan(spec={"engine": {"name": "unheard-of"}}, status={"replicas": 1})
    assert said(planned.status) == ("False", "SpecInvalid")
    assert (status_of(planned)["replicas"], planned.applies) == (1, ())


def test_nothing_is_planned_for_what_is_going() -> None:
    assert plan(deletionTimestamp="2026-01-01T00:00:00Z") == Plan()


def test_an_engine_as_the_cluster_has_it() -> None:
    assert engine_view({"spec": {}}) == EngineView(1, 0, "", 0)
    failure = {"type": "ReplicaFailure", "status": "True", "message": "quota"}
    status = {"readyReplicas": 2, "conditions": [failure]}
    assert engine_view({"spec": {"replicas": 3}, "status": status}) == EngineView(3, 2, "quota", 0)
