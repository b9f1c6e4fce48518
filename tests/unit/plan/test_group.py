"""How many nodes an attempt has, and when another size takes its place."""

from typing import Any

import pytest

from llmcloud.api.names import LABEL_COMPONENT, Kind
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.children import ANNOTATION_BASE, JobView, PodView, job_view
from llmcloud.plan.group import ROOM, SHRINK_SECONDS, Resize, first_size, sizes, smaller
from llmcloud.plan.model import Manifest, Plan
from llmcloud.plan.training import PROGRESS_SECONDS, plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    TRAINING_SPEC,
    VERSION_1,
    at,
    by_type,
    make_job,
    make_owner,
    make_pod,
    raw_job,
    ready_dataset,
    ready_store,
    said,
    scheduled,
    unschedulable,
)

ELASTIC: Manifest = {"nodes": {"min": 1, "max": 4}}
PLACED = {"phase": "Running", **scheduled(NOW)}
NO_NODE = {"phase": "Pending", **unschedulable("0/4 nodes are available.")}
RUNNING = {"phase": "Running"}
STORES = (("work", ready_store("work")),)


def spec_of(**members: Any) -> LLMTrainingJobSpec:
    return LLMTrainingJobSpec.model_validate({**TRAINING_SPEC, **ELASTIC, **members})


def plan(
    *jobs: JobView,
    spec: Manifest | None = None,
    status: Manifest | None = None,
    seconds: float = 0,
    room: JobView | None = None,
    pods: tuple[PodView, ...] | None = None,
) -> Plan:
    owner = make_owner(Kind.TRAINING_JOB, spec={**ELASTIC, **(spec or {})}, status=status)
    theirs = tuple(pod for job in jobs for pod in job.pods) if pods is None else pods
    world = TrainingWorld(
        owner, (ready_dataset(),), STORES, jobs, at(seconds), theirs, None, (), room
    )  # fmt: skip
    return plan_training(world, DEFAULTS)


RECIPE: str = plan().applies[1]["metadata"]["annotations"]["llmcloud.dev/recipe"]


def group(nodes: int, *pods: Manifest, **more: Any) -> JobView:
    return make_job(recipe=RECIPE, version=VERSION_1, nodes=nodes, pods=list(pods), **more)


def room_for(base: int, *pods: Manifest) -> JobView:
    raw = raw_job(nodes=len(pods))
    raw["metadata"] |= {"name": "it-room-a1", "uid": "uid-room"}
    raw["metadata"]["labels"][LABEL_COMPONENT] = ROOM
    raw["metadata"]["annotations"][ANNOTATION_BASE] = str(base)
    return job_view(raw, [make_pod(raw, index=n, **status) for n, status in enumerate(pods)])


def job_of(planned: Plan) -> Manifest:
    (job,) = [manifest for manifest in planned.applies if manifest["kind"] == "Job"]
    return job


@pytest.mark.parametrize(
    ("nodes", "resources", "batch", "expected"),
    [
        pytest.param({"min": 1, "max": 4}, {}, 8, (4, 2, 1), id="those that divide the batch"),
        pytest.param({"min": 3, "max": 3}, {}, 8, (), id="none"),
        pytest.param({"min": 1, "max": 4}, {"accelerator": "a", "count": 8}, 64, (4, 2, 1),
                     id="with several accelerators each"),
        pytest.param({"min": 2, "max": 5}, {}, 60, (5, 4, 3, 2), id="all of them"),
    ],
)  # fmt: skip
def test_sizes(nodes: Manifest, resources: Any, batch: int, expected: tuple[int, ...]) -> None:
    steps = {"maxSteps": 1, "globalBatchSize": batch}
    assert sizes(spec_of(nodes=nodes, resources=resources, hyperparameters=steps)) == expected


def test_a_batch_that_no_size_divides_is_refused_before_a_pod_starts() -> None:
    planned = plan(spec={"nodes": {"min": 3, "max": 3}})
    assert said(planned.status) == ("False", "SpecInvalid")
    assert "globalBatchSize 8" in by_type(planned.status)["Ready"]["message"]
    assert planned.applies == ()


def test_an_attempt_begins_with_all_nodes_and_a_service_by_which_its_pods_meet() -> None:
    service, job = plan().applies
    pod = job["spec"]["template"]["spec"]
    assert (service["kind"], service["spec"]["clusterIP"]) == ("Service", "None")
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (4, 4)
    assert pod["subdomain"] == service["metadata"]["name"]
    assert '"leader":"it-train-a1-0.it-train.ns.svc"' in pod["containers"][0]["env"][0]["value"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_one_node_needs_no_service() -> None:
    assert [m["kind"] for m in plan(spec={"nodes": {"min": 1, "max": 1}}).applies] == ["Job"]


@pytest.mark.parametrize(
    ("pods", "seconds", "resize"),
    [
        pytest.param([PLACED, PLACED, NO_NODE, NO_NODE], 5, Resize(2, SHRINK_SECONDS - 5),
                     id="it waits a little for the others"),
        pytest.param([PLACED, PLACED, NO_NODE, NO_NODE], SHRINK_SECONDS, Resize(2, 0),
                     id="then it goes on with those that are there"),
        pytest.param([PLACED, PLACED, PLACED, NO_NODE], SHRINK_SECONDS, Resize(2, 0),
                     id="with as many as divide the batch"),
        pytest.param([NO_NODE] * 4, 1000, None, id="with none there is nothing to go on with"),
        pytest.param([RUNNING] * 4, 1000, None, id="with all there is no reason"),
    ],
)  # fmt: skip
def test_nodes_that_do_not_come(
    pods: list[Manifest], seconds: float, resize: Resize | None
) -> None:
    assert smaller(spec_of(), group(4, *pods), at(seconds)) == resize


def test_the_time_begins_with_the_last_pod_that_got_a_node() -> None:
    late = {"phase": "Running", **scheduled(at(90))}
    assert smaller(spec_of(), group(4, PLACED, late, NO_NODE), at(100)) == Resize(2, 10)


def test_never_below_the_fewest() -> None:
    few = group(4, PLACED, NO_NODE, NO_NODE, NO_NODE)
    assert smaller(spec_of(nodes={"min": 2, "max": 4}), few, at(1000)) is None


def test_a_smaller_attempt_takes_the_place_of_one_whose_nodes_do_not_come() -> None:
    waiting = group(4, PLACED, PLACED, NO_NODE, NO_NODE)
    planned = plan(waiting, seconds=SHRINK_SECONDS, status={"attempt": 1})
    job = job_of(planned)
    assert job["metadata"]["name"] == "it-train-a2"
    assert job["spec"]["completions"] == 2
    assert planned.deletes == (waiting.ref,)


def test_a_small_attempt_that_runs_asks_for_the_missing_nodes() -> None:
    running = group(2, RUNNING, RUNNING)
    status = {"attempt": 1, "phase": "Running"}
    assert plan(running, status=status, seconds=59).applies == ()
    (room,) = plan(running, status=status, seconds=60).applies
    assert room["metadata"]["name"] == "it-room-a1"
    assert room["spec"]["completions"] == 2


def test_a_full_attempt_asks_for_nothing() -> None:
    planned = plan(group(4, *[RUNNING] * 4), status={"phase": "Running"}, seconds=1000)
    assert (planned.applies, planned.deletes) == ((), ())


def test_when_there_is_room_the_small_attempt_saves_and_stops() -> None:
    running, room = group(2, RUNNING, RUNNING), room_for(2, PLACED, PLACED)
    planned = plan(running, room=room, seconds=100, status={"attempt": 1, "phase": "Running"})
    assert (planned.applies, planned.deletes) == ((), (running.ref,))
    assert "save a checkpoint" in by_type(planned.status)["Ready"]["message"]


def test_room_that_makes_no_size_is_no_reason() -> None:
    running, room = group(2, RUNNING, RUNNING), room_for(2, PLACED, NO_NODE)
    planned = plan(running, room=room, seconds=100, status={"attempt": 1, "phase": "Running"})
    assert (planned.applies, planned.deletes) == ((), ())


def test_the_next_attempt_waits_until_the_pods_are_gone_and_has_the_room_that_was_found() -> None:
    leaving = make_pod(raw_job(), "Running")
    leaving = PodView(**{**leaving.__dict__, "deleting": True, "gone_by": at(90)})
    room = room_for(2, PLACED, PLACED)
    status = {"attempt": 1}
    waiting = plan(room=room, pods=(leaving,), status=status, seconds=50)
    assert (waiting.applies, waiting.requeue_seconds) == ((), PROGRESS_SECONDS)
    started = plan(room=room, pods=(), status=status, seconds=50)
    assert job_of(started)["metadata"]["name"] == "it-train-a2"
    assert job_of(started)["spec"]["completions"] == 4
    assert started.deletes == (room.ref,)
    lost = plan(room=room, pods=(leaving,), status=status, seconds=106)
    assert job_of(lost)["metadata"]["name"] == "it-train-a2"


def test_the_room_that_was_found_decides_the_size() -> None:
    assert first_size(spec_of(), room_for(1, PLACED, NO_NODE, NO_NODE)) == 2
    assert first_size(spec_of(), room_for(1, NO_NODE)) == 1
    assert first_size(spec_of(), None) == 4


def test_a_size_that_is_not_wanted_any_more_stops_too() -> None:
    running = group(4, *[RUNNING] * 4)
    planned = plan(running, spec={"nodes": {"min": 1, "max": 2}}, status={"attempt": 1})
    assert planned.deletes == (running.ref,)


def test_what_asks_for_nodes_goes_with_its_attempt() -> None:
    room = room_for(2, NO_NODE)
    planned = plan(room=room, spec={"suspend": True}, status={"attempt": 1})
    assert planned.deletes == (room.ref,)


def test_a_queue_is_named_once_and_holds_the_job_back() -> None:
    queued = {"queue": "gpu", "nodes": {"min": 4, "max": 4}}
    job = job_of(plan(spec=queued))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert job["spec"]["suspend"] is True
    raw = raw_job(recipe=RECIPE, tried=None, nodes=4, version=VERSION_1)
    raw["spec"]["suspend"] = True
    planned = plan(job_view(raw, []), spec=queued, status={"attempt": 1})
    assert said(planned.status) == ("False", "Queued")
    assert planned.status is not None
    assert planned.status["phase"] == "Queued"
    assert (planned.applies, planned.requeue_seconds) == ((), None)


def test_a_group_of_which_some_pods_start_does_not_run_yet() -> None:
    planned = plan(group(4, PLACED, PLACED, NO_NODE, NO_NODE), status={"attempt": 1})
    assert said(planned.status) == ("False", "Unschedulable")


def test_a_group_has_failed_though_a_lost_nodes_pod_is_still_there() -> None:
    raw = raw_job(recipe=RECIPE, nodes=2, version=VERSION_1)
    failing = {
        "type": "FailureTarget",
        "status": "True",
        "lastTransitionTime": "2026-05-01T12:00:00Z",
    }
    raw["status"] = {"conditions": [failing]}
    job = job_view(raw, [make_pod(raw, "Running"), make_pod(raw, "Failed", 1)])
    assert said(plan(job, status={"attempt": 1}).status) == ("False", "Preempted")
