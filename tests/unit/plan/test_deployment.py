"""LLMDeployment: pin the model, follow the load, tell the truth about the replicas."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.api.contract import EngineStart
from llmcloud.api.names import LABEL_REVISION, Kind, Reason
from llmcloud.plan.autoscaling import ScalingView
from llmcloud.plan.children import PodView, pod_view
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld, EngineView, engine_view
from llmcloud.plan.model import Manifest, Owner, Plan, timestamp
from llmcloud.plan.revisions import revision_of
from llmcloud.scaling.observation import Decision
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
IDLE = Decision(0, "no request for 900 s")
ONE_WAITS = Decision(1, "1 waits now")
SELECTING = {"model": {"trainingJob": {"selector": {"matchLabels": {"app": "a"}}}}}
EXTERNAL = {"replicas": 2, "scaling": {"mode": "External"}}


def world(
    *,
    job: Owner | None = TRAINED,
    store: Owner | None = STORE,
    engine: EngineView | None = None,
    pods: tuple[PodView, ...] = (),
    decided: Decision | None = None,
    loads: dict[str, int] | None = None,
    start: EngineStart | None = None,
    taken: str = "",
    spec: Manifest | None = None,
    status: Manifest | None = None,
    seconds: float = 0,
    **metadata: Any,
) -> DeploymentWorld:
    owner = make_owner(Kind.DEPLOYMENT, spec=spec, status=status, **metadata)
    scaling = ScalingView(decided, start, loads or {})
    engines = (engine,) if engine else ()
    return DeploymentWorld(owner, job, store, engines, pods, at(seconds), scaling, taken)


def plan(**members: Any) -> Plan:
    return plan_deployment(world(**members), DEFAULTS)


def status_of(planned: Plan) -> Manifest:
    assert planned.status is not None
    return planned.status


def applied(planned: Plan, kind: str = "Deployment") -> list[Manifest]:
    return [child for child in planned.applies if child["kind"] == kind]


def replicas_of(planned: Plan) -> int:
    (child,) = applied(planned)
    replicas: int = child["spec"]["replicas"]
    return replicas


def the_revision() -> str:
    (engine,) = applied(plan())
    return revision_of(engine)


def running(ready: int, replicas: int = 1, refused: str = "") -> EngineView:
    return EngineView(replicas, ready, refused, replicas, revision=the_revision())


def held(replicas: int) -> Manifest:
    """The status of a deployment that had so many replicas."""
    return {"desiredReplicas": replicas, "model": {"revision": the_revision()}}


def failing(**status: Any) -> PodView:
    return dataclasses.replace(make_pod(**status), revision=the_revision())


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
        pytest.param(
            {"spec": SELECTING, "job": None}, Reason.MODEL_NOT_READY, id="a job that passes"
        ),
    ],
)  # fmt: skip
def test_a_deployment_waits_for(missing: dict[str, Any], reason: Reason) -> None:
    planned = plan(**missing)
    assert said(planned.status) == ("False", reason)
    assert planned.applies == ()


def test_the_model_is_pinned_and_its_digest_checked_by_the_fetcher() -> None:
    planned = plan()
    (engine,) = applied(planned)
    (fetch,) = engine["spec"]["template"]["spec"]["initContainers"]
    assert status_of(planned)["model"] == {
        "digest": MODEL_DIGEST,
        "trainingJob": "train",
        "task": "causal-lm",
        "url": "s3://team-a/models/a/model/",
        "store": "work",
        "path": "models/a/",
        "revision": revision_of(engine),
    }
    assert MODEL_DIGEST in fetch["env"][0]["value"]


def test_the_model_of_a_selected_job_is_served_on_when_jobs_are_gone() -> None:
    first = plan(spec=SELECTING)
    assert status_of(first)["model"]["trainingJob"] == "train"
    left = plan(spec=SELECTING, job=None, status=status_of(first), engine=running(1))
    assert status_of(left)["model"] == status_of(first)["model"]
    assert applied(left)[0]["spec"]["template"] == applied(first)[0]["spec"]["template"]


def test_a_model_from_a_store_has_no_digest_to_check() -> None:
    planned = plan(spec={"model": {"store": {"name": "work", "path": "m/"}}}, job=None)
    (engine,) = applied(planned)
    assert status_of(planned)["model"] == {
        "url": "s3://team-a/m/",
        "store": "work",
        "path": "m/",
        "revision": revision_of(engine),
    }


@pytest.mark.parametrize(
    ("members", "replicas"),
    [
        pytest.param({}, 0, id="a new one begins with the fewest: none"),
        pytest.param({"spec": {"scaling": {"minReplicas": 2, "maxReplicas": 3}}}, 2, id="or two"),
        pytest.param(
            {"engine": running(0, 0), "decided": ONE_WAITS}, 1, id="0 to 1 when a request waits"
        ),
        pytest.param({"engine": running(1), "decided": IDLE}, 0, id="1 to 0 after silence"),
        pytest.param(
            {"engine": running(1), "status": held(1)}, 1,
            id="without samples what is there is held",
        ),
        pytest.param({"spec": EXTERNAL}, 2, id="mode External obeys spec.replicas"),
        pytest.param(
            {"spec": EXTERNAL, "engine": running(2, 2), "decided": IDLE}, 2, id="whatever the load"
        ),
    ],
)  # fmt: skip
def test_how_many_replicas(members: dict[str, Any], replicas: int) -> None:
    planned = plan(**members)
    assert replicas_of(planned) == replicas
    assert status_of(planned)["desiredReplicas"] == replicas


@pytest.mark.parametrize(
    ("members", "word", "reason"),
    [
        pytest.param({}, "True", Reason.SCALED_TO_ZERO, id="no replica is wanted"),
        pytest.param(
            {"engine": running(1), "status": held(1)}, "True", Reason.SERVING,
            id="all replicas answer",
        ),
        pytest.param(
            {"engine": running(0), "status": held(1)}, "False", Reason.REPLICAS_NOT_READY,
            id="the only one starts",
        ),
        pytest.param(
            {"spec": EXTERNAL, "engine": running(1, 2)}, "True", Reason.REPLICAS_NOT_READY,
            id="one of two answers",
        ),
        pytest.param(
            {"engine": running(0, refused="exceeded quota: gpus"), "status": held(1)},
            "False", Reason.POD_REFUSED, id="the cluster refuses pods",
        ),
        pytest.param(
            {
                "engine": running(0), "status": held(1),
                "pods": (failing(**unschedulable("0/1 nodes.")),),
            },
            "False", Reason.UNSCHEDULABLE, id="no node takes it",
        ),
        pytest.param(
            {
                "engine": running(0), "status": held(1),
                "pods": (
                    dataclasses.replace(failing(), warnings=("MountVolume.SetUp: no secret a",)),
                ),
            },
            "False", Reason.VOLUME_NOT_MOUNTED, id="a Secret is missing",
        ),
        pytest.param(
            {
                "engine": running(0), "status": held(1),
                "pods": (failing(phase="Running", **ended(137, "OOMKilled")),),
            },
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
    planned = plan(engine=running(1), taken="other/wiki", status=held(1))
    assert status_of(planned)["url"] == "http://gateway/ns/ns/v1"
    message = by_type(planned.status)["Stalled"]["message"]
    assert all(word in message for word in ("other/wiki", "/ns/ns/v1", "servedModelName"))
    assert replicas_of(planned) == 1


def test_the_time_of_scaling_moves_with_the_number_only() -> None:
    first = status_of(plan(engine=running(0, 0), decided=ONE_WAITS))
    again = plan(engine=running(0), decided=ONE_WAITS, status=first, seconds=60)
    assert status_of(again)["scaling"] == first["scaling"]
    assert first["scaling"]["lastScaleTime"] == timestamp(NOW)
    down = plan(engine=running(1), decided=IDLE, status=first, seconds=60)
    assert status_of(down)["scaling"]["lastScaleTime"] == timestamp(at(60))


def test_the_reason_is_that_of_the_last_change_or_that_there_are_no_samples() -> None:
    up = status_of(plan(engine=running(0, 0), decided=ONE_WAITS))
    assert up["scaling"]["reason"] == "1 waits now"
    later = plan(engine=running(1), decided=Decision(1, "the load fits"), status=up)
    assert status_of(later)["scaling"]["reason"] == "1 waits now"
    blind = Decision(1, "no samples from the gateways: holding", holding=True)
    held = status_of(plan(engine=running(1), decided=blind, status=up))["scaling"]
    assert (held["reason"], held["holding"]) == (blind.reason, True)
    assert held["lastScaleTime"] == up["scaling"]["lastScaleTime"]
    seen = plan(
        engine=running(1), decided=Decision(1, "the load fits"), status={**up, "scaling": held}
    )
    assert status_of(seen)["scaling"] == {**up["scaling"], "reason": "the load fits"}


def test_that_more_replicas_are_needed_than_may_be_is_told_though_the_number_stays() -> None:
    up = status_of(plan(engine=running(1), decided=ONE_WAITS))
    more = Decision(1, "9 wait now: at maxReplicas", limited=True)
    full = status_of(plan(engine=running(1), decided=more, status=up))["scaling"]
    assert full == {**up["scaling"], "reason": more.reason, "limited": True}
    fits = Decision(1, "the load fits")
    again = plan(engine=running(1), decided=fits, status={**up, "scaling": full})
    assert status_of(again)["scaling"] == {**up["scaling"], "reason": "the load fits"}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    decided=st.none() | st.builds(Decision, st.integers(-5, 5000), st.text(max_size=9)),
    current=st.integers(0, 2000),
    low=st.integers(0, 5),
    high=st.integers(5, 9),
    pods=st.lists(st.booleans(), max_size=5),
)
def test_whatever_is_decided_the_bounds_hold_and_no_pod_freezes_it(
    decided: Decision | None, current: int, low: int, high: int, pods: list[bool]
) -> None:
    spec = {"scaling": {"minReplicas": low, "maxReplicas": high}}
    stuck = tuple(make_pod(**(unschedulable("no node") if one else {})) for one in pods)
    planned = plan(
        spec=spec, engine=running(0, current), decided=decided, pods=stuck, status=held(current)
    )
    wanted = current if decided is None else decided.replicas
    assert replicas_of(planned) == min(max(wanted, low), high)


def replica(name: str = "a", *, created: float = 0, restarts: int = 0, **metadata: Any) -> PodView:
    """Ready 40 s after its creation: 5 s to a node, 20 s to its engine's start."""

    def condition(type_: str, seconds: float) -> Manifest:
        moment = timestamp(at(created + seconds))
        return {"type": type_, "status": "True", "lastTransitionTime": moment}

    state = {"running": {"startedAt": timestamp(at(created + 25))}}
    return pod_view(
        {
            "metadata": {
                "name": name, "uid": name, "creationTimestamp": timestamp(at(created)),
                "labels": {LABEL_REVISION: the_revision()}, **metadata,
            },
            "status": {
                "phase": "Running",
                "podIP": f"ip-of-{name}",
                "conditions": [condition("PodScheduled", 5), condition("Ready", 40)],
                "containerStatuses": [{"state": state, "restartCount": restarts}],
            },
        }
    )  # fmt: skip


def test_a_cold_start_is_told_in_its_parts() -> None:
    start = EngineStart(load_seconds=9.4, warm_up_seconds=3.6)
    told = status_of(plan(engine=running(1), pods=(replica(),), start=start))["scaling"]
    assert told["coldStart"] == {
        "replica": "a",
        "scheduleSeconds": 5,
        "pullSeconds": 20,
        "loadSeconds": 9,
        "warmUpSeconds": 4,
    }


def test_an_engine_that_tells_nothing_has_its_warm_up_in_its_load() -> None:
    told = status_of(plan(engine=running(1), pods=(replica(),)))["scaling"]["coldStart"]
    assert (told["loadSeconds"], "warmUpSeconds" in told) == (15, False)


def test_what_a_sidecar_does_not_know_of_the_load_is_the_rest() -> None:
    start = EngineStart(warm_up_seconds=4)
    told = status_of(plan(engine=running(1), pods=(replica(),), start=start))["scaling"]
    assert (told["coldStart"]["loadSeconds"], told["coldStart"]["warmUpSeconds"]) == (11, 4)


def test_each_replica_is_measured_once_and_the_newest_counts() -> None:
    first = status_of(plan(engine=running(1), pods=(replica(),)))
    start = EngineStart(load_seconds=1, warm_up_seconds=1)
    again = status_of(plan(engine=running(1), pods=(replica(),), start=start, status=first))
    assert again["scaling"] == first["scaling"]
    pods = (replica(), replica("b", created=60), replica("c", created=90, restarts=1))
    newer = status_of(plan(engine=running(3, 3), pods=pods, status=first))
    assert newer["scaling"]["coldStart"]["replica"] == "b"
    gone = status_of(plan(engine=running(0, 0), status=newer))
    assert gone["scaling"]["coldStart"] == newer["scaling"]["coldStart"]


def test_the_selector_is_what_the_engine_has() -> None:
    planned = plan()
    (engine,) = applied(planned)
    labels = {
        key: value
        for key, value in engine["spec"]["selector"]["matchLabels"].items()
        if key != LABEL_REVISION
    }
    wanted = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    assert status_of(planned)["selector"] == wanted
    assert labels.items() <= engine["spec"]["template"]["metadata"]["labels"].items()
    (budget,) = applied(planned, "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"] == labels


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
