"""A job that waits in one of Kueue's queues, or is sent back into it."""

from dataclasses import replace

import pytest

from llmcloud.api.names import LABEL_QUEUE, Condition, Kind
from llmcloud.plan.children import JobView, PodView, job_view
from llmcloud.plan.model import Manifest, Plan
from llmcloud.plan.queueing import WORDS_MOST, why_held
from llmcloud.plan.training import PROGRESS_SECONDS, plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.worlds import (
    DEFAULTS,
    VERSION_1,
    at,
    by_type,
    make_owner,
    make_pod,
    raw_job,
    ready_dataset,
    ready_store,
    said,
)

QUEUE: Manifest = {"queue": "gpu", "nodes": {"min": 2, "max": 2}}
RUNNING: Manifest = {"attempt": 1, "phase": "Running"}


def plan(
    *jobs: JobView,
    pods: tuple[PodView, ...] = (),
    status: Manifest | None = None,
    seconds: float = 0,
) -> Plan:
    world = TrainingWorld(
        make_owner(Kind.TRAINING_JOB, spec=QUEUE, status=status),
        (ready_dataset(),),
        (("work", ready_store("work")),),
        jobs,
        at(seconds),
        pods or tuple(pod for job in jobs for pod in job.pods),
    )
    return plan_training(world, DEFAULTS)


RECIPE: str = plan().applies[1]["metadata"]["annotations"]["llmcloud.dev/recipe"]


def queued(*pods: PodView, held: str = "", suspend: bool = True, queue: str = "gpu") -> JobView:
    """The Job of attempt 1, which its queue holds back."""
    raw = raw_job(recipe=RECIPE, tried=None, nodes=2, version=VERSION_1)
    raw["spec"]["suspend"] = suspend
    raw["metadata"]["labels"] |= {LABEL_QUEUE: queue} if queue else {}
    named = [replace(pod, job=raw["metadata"]["name"]) for pod in pods]
    return replace(job_view(raw, named), held=held)


def workload(status: str, message: str) -> Manifest:
    condition = {"type": "QuotaReserved", "status": status, "message": message}
    return {"status": {"conditions": [{"type": "Other", "status": "False"}, condition]}}


@pytest.mark.parametrize(
    ("workloads", "words"),
    [
        pytest.param([workload("False", "2 more needed")], "2 more needed", id="it said why"),
        pytest.param([workload("True", "Quota reserved")], "", id="it waits for something else"),
        pytest.param([{}], "", id="it has not said anything"),
        pytest.param([], "", id="it has not seen the Job"),
        pytest.param([workload("False", "x" * 5000)], "x" * WORDS_MOST, id="it said too much"),
    ],
)
def test_why_a_job_is_held_back_is_said_in_kueues_words(
    workloads: list[Manifest], words: str
) -> None:
    assert why_held(workloads) == words


def test_a_cluster_without_kueue_lets_no_queued_job_start_and_says_so() -> None:
    planned = plan(queued(held=why_held(None)), status={"attempt": 1})
    assert said(planned.status) == ("False", "Queued")
    message = by_type(planned.status)[Condition.READY]["message"]
    assert message.startswith("Attempt 1 waits in queue gpu: this cluster has no Kueue")
    assert "without spec.queue" in message


def test_the_queue_and_its_reason_are_named() -> None:
    planned = plan(queued(held="2 more needed"), status={"attempt": 1})
    message = by_type(planned.status)[Condition.READY]["message"]
    assert message == "Attempt 1 waits in queue gpu: 2 more needed"
    assert by_type(planned.status)[Condition.RECONCILING]["status"] == "True"


def test_it_is_looked_at_again_at_growing_intervals() -> None:
    looks = [plan(queued(), seconds=s).requeue_seconds for s in (0, 10, 1000)]
    assert looks == [2.0, 5.0, 60.0]


def test_one_that_somebody_else_suspended_is_left_to_them() -> None:
    planned = plan(queued(queue=""))
    assert by_type(planned.status)[Condition.READY]["message"] == "Attempt 1 waits in its queue"
    assert planned.requeue_seconds is None


@pytest.mark.parametrize(
    ("job", "status"),
    [
        pytest.param(queued(make_pod(phase="Running")), {"attempt": 1}, id="its pods stop"),
        pytest.param(queued(), RUNNING, id="its pods are gone"),
    ],
)
def test_one_that_had_begun_gives_way_to_another_attempt(job: JobView, status: Manifest) -> None:
    planned = plan(job, status=status)
    assert planned.deletes == (job.ref,)
    assert planned.applies == ()
    assert planned.requeue_seconds == PROGRESS_SECONDS
    following = plan(status=planned.status)
    assert following.applies[1]["metadata"]["name"].endswith("-train-a2")
    assert following.applies[1]["spec"]["suspend"] is True


@pytest.mark.parametrize(
    ("job", "status"),
    [
        pytest.param(queued(), {"attempt": 1, "phase": "Starting"}, id="it had not begun"),
        pytest.param(queued(), {"attempt": 2, "phase": "Running"}, id="another one runs"),
        pytest.param(queued(make_pod(phase="Pending")), {"attempt": 1}, id="no pod had started"),
        pytest.param(
            queued(make_pod(phase="Running"), suspend=False), RUNNING, id="it is not held back"
        ),
    ],
)
def test_one_that_had_not_begun_keeps_its_place(job: JobView, status: Manifest) -> None:
    assert plan(job, status=status).deletes == ()
