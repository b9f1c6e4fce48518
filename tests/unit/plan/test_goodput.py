"""Where a job's time went, whoever saw it: reports, last words, or the cluster alone."""

import json
from datetime import datetime
from typing import Any

import pytest

from llmcloud.api.contract import Outcome, Progress, Retry
from llmcloud.api.names import Kind, Reason
from llmcloud.plan.children import ANNOTATION_SPENT, JobView, PodView, job_view, pod_view
from llmcloud.plan.model import Manifest, Plan, timestamp
from llmcloud.plan.training import plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.telling import spent, told
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    at,
    end_job,
    ended,
    make_owner,
    raw_job,
    raw_pod,
    ready_dataset,
    ready_store,
    refusal,
    runs,
    trained,
)

ACCELERATED: Manifest = {"resources": {"accelerator": "gpu", "count": 8}}
STORES = (("work", ready_store("work")),)
SPENT = spent(startup=20, productive=100, checkpoint=5, elapsed=300)


def plan(
    *jobs: JobView,
    progress: Progress | None = None,
    status: Manifest | None = None,
    spec: Manifest | None = None,
    pods: tuple[PodView, ...] | None = None,
    seconds: float = 0,
) -> Plan:
    owner = make_owner(Kind.TRAINING_JOB, spec=spec, status=status)
    theirs = tuple(pod for job in jobs for pod in job.pods) if pods is None else pods
    world = TrainingWorld(owner, (ready_dataset(),), STORES, jobs, at(seconds), theirs, progress)
    return plan_training(world, DEFAULTS)


RECIPE: str = plan().applies[0]["metadata"]["annotations"]["llmcloud.dev/recipe"]


def goodput(planned: Plan) -> Manifest:
    assert planned.status is not None
    found: Manifest = planned.status.get("goodput", {})
    return found


def attempt(
    number: int = 1,
    *pods: Manifest,
    created: datetime = NOW,
    before: Manifest | None = None,
    finished: datetime | None = None,
    succeeded: bool = False,
) -> JobView:
    """A Job whose pods, made when it was, have these phases and statuses."""
    raw = raw_job(number, RECIPE, created=created, nodes=max(1, len(pods)))
    if finished is not None:
        end_job(raw, finished, succeeded=succeeded)
    views = []
    for index, status in enumerate(pods):
        pod = raw_pod(raw, index=index, **status)
        annotations = {ANNOTATION_SPENT: json.dumps(before)} if before else {}
        pod["metadata"] |= {"creationTimestamp": timestamp(created), "annotations": annotations}
        views.append(pod_view(pod))
    return job_view(raw, views)


def running(since: float) -> Manifest:
    return {"phase": "Running", "podIP": "10.0.0.1", **runs(at(since))}


def stopped(since: float, until: float, code: int = 1, outcome: Outcome | None = None) -> Manifest:
    said = outcome.model_dump_json(by_alias=True) if outcome else ""
    phase = "Failed" if code else "Succeeded"
    return {"phase": phase, **ended(code, "", said, at(since), at(until))}


def lost(startup: int = 0, restart: int = 0, checkpoint: int = 0) -> Manifest:
    return {"startup": startup, "restart": restart, "checkpoint": checkpoint}


def test_before_there_is_anything_to_tell_nothing_is() -> None:
    assert goodput(plan()) == {}
    assert goodput(plan(attempt(1, {"phase": "Pending"}))) == {}


def test_a_running_attempt_tells_what_is_durable_and_what_its_start_took() -> None:
    """The start begins with the pod: scheduling and its image are part of it."""
    planned = plan(attempt(1, running(30)), progress=told(SPENT))
    assert goodput(planned) == {
        "productiveSeconds": 100,
        "lostSeconds": lost(50, 0, 5),
        "mfu": 0.4,
    }


def test_a_job_that_ended_while_the_operator_was_down_tells_all_of_it() -> None:
    job = attempt(1, stopped(30, 100, 0, trained()), finished=at(100), succeeded=True)
    planned = plan(job, seconds=9999)
    assert planned.status is not None
    assert goodput(planned)["productiveSeconds"] == 60
    assert goodput(planned)["lostSeconds"] == lost(35, 0, 1)
    assert planned.status["phase"] == "Succeeded"
    assert planned.status["progress"]["loss"] == 3.5
    assert planned.status["checkpoint"]["step"] == 40
    assert planned.status["evaluation"]["metrics"][0]["value"] == 12.5


def test_a_failure_that_nobody_watched_tells_its_checkpoint() -> None:
    words = refusal(Reason.LOSS_NOT_FINITE, Retry.NEVER, "The loss is nan at step 41 of 100")
    outcome = words.model_copy(update={"progress": told(SPENT)})
    planned = plan(attempt(1, stopped(30, 330, 64, outcome), finished=at(330)))
    assert planned.status is not None
    assert planned.status["phase"] == "Failed"
    assert planned.status["checkpoint"]["step"] == 40
    assert planned.status["progress"]["step"] == 50


def test_steps_that_no_checkpoint_kept_are_lost_to_the_restart() -> None:
    """330 s, of which 50 s were the start, 100 s are durable and 5 s were pauses."""
    status = {"attempt": 1}
    told_status = plan(attempt(1, running(30)), progress=told(SPENT), status=status).status
    assert told_status is not None
    killed = attempt(1, stopped(30, 330, 137), finished=at(331))
    planned = plan(killed, status=told_status, seconds=335)
    assert goodput(planned)["productiveSeconds"] == 100
    assert goodput(planned)["lostSeconds"] == lost(50, 175, 5)
    assert goodput(planned)["mfu"] == 0.4
    again = plan(killed, status=planned.status, seconds=336)
    assert goodput(again) == goodput(planned)


def test_a_lost_nodes_pod_has_no_end_but_its_job_has() -> None:
    status: Manifest = {
        "attempt": 1,
        "goodput": {"productiveSeconds": 100, "lostSeconds": lost(50, 0, 5)},
    }
    gone = attempt(1, running(30), finished=at(330))
    assert goodput(plan(gone, status=status, seconds=335))["lostSeconds"] == lost(50, 175, 5)


def test_the_next_attempt_is_told_what_came_before_and_the_wait_for_it() -> None:
    outcome = refusal(Reason.CRASHED, Retry.USER).model_copy(update={"progress": told(SPENT)})
    failed = attempt(1, stopped(30, 330, 1, outcome), finished=at(331))
    planned = plan(failed, seconds=341)
    (job,) = planned.applies
    before = json.loads(job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_SPENT])
    assert before == {
        "productive": 100, "startup": 50, "restart": 185, "checkpoint": 5, "accelerator": 0,
    }  # fmt: skip
    assert goodput(planned)["lostSeconds"] == lost(50, 175, 5)


def test_the_time_that_it_was_suspended_is_not_lost() -> None:
    outcome = refusal(Reason.CRASHED, Retry.USER).model_copy(update={"progress": told(SPENT)})
    failed = attempt(1, stopped(30, 330, 1, outcome), finished=at(331))
    suspended = plan(failed, spec={"suspend": True}, status={"attempt": 1}, seconds=335)
    assert suspended.deletes == ()
    (job,) = plan(failed, status=suspended.status, seconds=9999).applies
    before = json.loads(job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_SPENT])
    assert before["restart"] == 175


def test_to_start_again_is_lost_to_the_restart_too() -> None:
    before = {"productive": 100, "startup": 50, "restart": 185, "checkpoint": 5, "accelerator": 0}
    second = attempt(2, running(410), created=at(400), before=before)
    resumed = spent(startup=20, productive=230, checkpoint=5, elapsed=300)
    planned = plan(second, progress=told(resumed, attempt=2), status={"attempt": 2})
    assert goodput(planned)["productiveSeconds"] == 230
    assert goodput(planned)["lostSeconds"] == lost(50, 215, 10)


def test_a_first_attempt_gets_no_annotation() -> None:
    (job,) = plan().applies
    assert "annotations" not in job["spec"]["template"]["metadata"]


def test_what_is_known_is_kept_when_the_pods_are_gone() -> None:
    kept: Manifest = {"productiveSeconds": 9, "lostSeconds": lost(1, 2, 3)}
    status: Manifest = {"attempt": 1, "goodput": kept}
    assert goodput(plan(status=status, spec={"suspend": True})) == kept


@pytest.mark.parametrize("annotation", ["no JSON", "[1]", '{"productive": "9", "startup": -1}'])
def test_anyone_may_write_annotations(annotation: str) -> None:
    raw = raw_pod(raw_job(), "Running")
    raw["metadata"]["annotations"] = {ANNOTATION_SPENT: annotation}
    assert goodput(plan(pods=(pod_view(raw),))) == {}


class TestAccelerators:
    def hours(self, *jobs: JobView, **world: Any) -> float:
        found: float = goodput(plan(*jobs, spec=ACCELERATED, **world))["acceleratorHours"]
        return found

    def test_those_of_all_pods_count_while_they_run(self) -> None:
        pair = attempt(1, running(30), running(30))
        assert self.hours(pair, progress=told(SPENT)) == round(300 * 16 / 3600, 4)

    def test_when_they_have_ended_the_cluster_knows_best(self) -> None:
        pair = attempt(1, stopped(30, 390, 1), stopped(60, 390, 1), finished=at(390))
        assert self.hours(pair, seconds=395) == round((360 + 330) * 8 / 3600, 4)

    def test_those_of_earlier_attempts_are_added(self) -> None:
        second = attempt(2, running(0), before={"accelerator": 7200})
        status = {"attempt": 2}
        assert self.hours(second, progress=told(SPENT, attempt=2), status=status) == round(
            2 + 300 * 8 / 3600, 4
        )

    def test_a_job_on_cpus_has_none(self) -> None:
        planned = plan(attempt(1, running(30)), progress=told(SPENT))
        assert "acceleratorHours" not in goodput(planned)
