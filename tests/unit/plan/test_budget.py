"""A budget of accelerator-hours: spent, the pods save and stop; raised, the job goes on."""

from llmcloud.api.contract import Progress
from llmcloud.api.names import Kind
from llmcloud.plan.children import JobView, PodView, job_view, pod_view
from llmcloud.plan.model import Manifest, Plan, timestamp
from llmcloud.plan.training import PROGRESS_SECONDS, plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.telling import spent, told
from tests.support.worlds import (
    DEFAULTS,
    at,
    by_type,
    end_job,
    make_owner,
    raw_job,
    raw_pod,
    ready_dataset,
    ready_store,
    runs,
    said,
    succeeded_job,
    trained,
)

HOUR = 3600
"""One pod with four accelerators for a quarter of an hour."""
SPEC: Manifest = {
    "resources": {"accelerator": "gpu", "count": 4},
    "budget": {"acceleratorHours": 1},
}
SPENT_AT = HOUR / 4


def plan(
    *jobs: JobView,
    seconds: float = 0,
    status: Manifest | None = None,
    pods: tuple[PodView, ...] | None = None,
    progress: Progress | None = None,
    **spec: object,
) -> Plan:
    owner = make_owner(Kind.TRAINING_JOB, spec={**SPEC, **spec}, status=status)
    theirs = tuple(pod for job in jobs for pod in job.pods) if pods is None else pods
    stores = (("work", ready_store("work")),)
    world = TrainingWorld(owner, (ready_dataset(),), stores, jobs, at(seconds), theirs, progress)
    return plan_training(world, DEFAULTS)


RECIPE: str = plan().applies[0]["metadata"]["annotations"]["llmcloud.dev/recipe"]


def running(attempt: int = 1) -> JobView:
    raw = raw_job(attempt, RECIPE)
    return job_view(raw, [pod_view(raw_pod(raw, "Running", podIP="10.0.0.1", **runs()))])


def hours(planned: Plan) -> float:
    assert planned.status is not None
    found: float = planned.status["goodput"]["acceleratorHours"]
    return found


def spent_status() -> Manifest:
    status = plan(running(), seconds=SPENT_AT, status={"attempt": 1}).status
    assert status is not None
    return status


def test_until_it_is_spent_nothing_happens_but_the_last_look_comes_in_time() -> None:
    early = plan(running(), seconds=SPENT_AT - 60)
    assert (early.deletes, early.requeue_seconds) == ((), PROGRESS_SECONDS)
    assert plan(running(), seconds=SPENT_AT - 1.5).requeue_seconds == 1.5


def test_spent_the_pods_save_and_stop_also_those_that_tell_nothing() -> None:
    job = running()
    planned = plan(job, seconds=SPENT_AT, status={"attempt": 1})
    assert (planned.applies, planned.deletes) == ((), (job.ref,))
    assert said(planned.status) == ("False", "BudgetSpent")
    assert by_type(planned.status)["Suspended"]["status"] == "False"
    assert hours(planned) == 1.0


def test_a_lost_nodes_pod_is_counted_until_its_grace_has_ended() -> None:
    raw = raw_job(1, RECIPE)
    pod = raw_pod(raw, "Running", **runs())
    pod["metadata"]["deletionTimestamp"] = timestamp(at(100))
    status = {"attempt": 1}
    for seconds, requeue in ((60, PROGRESS_SECONDS), (99999, None)):
        planned = plan(pods=(pod_view(pod),), status=status, seconds=seconds)
        assert said(planned.status)[1] != "BudgetSpent", seconds
        assert planned.requeue_seconds == requeue


def test_then_the_job_is_suspended_and_stays_so() -> None:
    planned = plan(status=spent_status(), seconds=9999)
    types = by_type(planned.status)
    assert (types["Suspended"]["status"], types["Suspended"]["reason"]) == ("True", "BudgetSpent")
    assert (types["Stalled"]["status"], types["Failed"]["status"]) == ("True", "False")
    assert "raise it to go on" in types["Ready"]["message"]
    assert (planned.applies, planned.requeue_seconds) == ((), None)


def test_raising_it_goes_on_with_another_attempt() -> None:
    planned = plan(status=spent_status(), seconds=9999, budget={"acceleratorHours": 1.5})
    (job,) = planned.applies
    assert job["metadata"]["name"] == "it-train-a2"
    assert by_type(planned.status)["Suspended"]["status"] == "False"
    assert hours(planned) == 1.0


def test_what_was_spent_before_counts() -> None:
    raw = raw_job(2, RECIPE)
    pod = raw_pod(raw, "Running", **runs())
    pod["metadata"]["annotations"] = {"llmcloud.dev/spent": '{"accelerator": 3000}'}
    job = job_view(raw, [pod_view(pod)])
    assert plan(job, seconds=149, status={"attempt": 2}).requeue_seconds == 1.0
    assert said(plan(job, seconds=150, status={"attempt": 2}).status) == ("False", "BudgetSpent")


def test_a_job_that_has_ended_is_not_suspended() -> None:
    done = succeeded_job(trained(), recipe=RECIPE)
    planned = plan(done, status=spent_status(), seconds=9999)
    assert by_type(planned.status)["Complete"]["status"] == "True"


def test_a_failure_with_nothing_left_is_not_tried_again() -> None:
    raw = raw_job(1, RECIPE)
    end_job(raw, at(10), succeeded=False)
    planned = plan(job_view(raw, []), status=spent_status(), seconds=9999)
    assert planned.applies == ()
    assert said(planned.status) == ("False", "BudgetSpent")


def test_suspended_by_hand_it_says_so() -> None:
    owner_says = plan(status=spent_status(), suspend=True)
    assert said(owner_says.status) == ("False", "Suspended")


def test_the_status_tells_what_was_reported() -> None:
    report = told(spent(startup=1, productive=1, checkpoint=1, elapsed=450))
    assert hours(plan(running(), seconds=460, progress=report)) == 0.5
