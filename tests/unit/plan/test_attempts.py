"""Which attempt runs, waits, is tried again, or is given up."""

import json
from datetime import datetime

import pytest

from llmcloud.api.contract import Retry
from llmcloud.api.names import Reason
from llmcloud.plan.attempts import (
    LOST_MOST,
    RETRY_MOST_SECONDS,
    State,
    decide_attempt,
    next_attempt,
    retry_delay_seconds,
)
from llmcloud.plan.children import ANNOTATION_LOST, JobView, job_view
from llmcloud.plan.failures import cause
from tests.support.telling import told
from tests.support.worlds import (
    NOW,
    PROVISIONED,
    at,
    end_job,
    ended,
    failed_job,
    make_job,
    make_pod,
    raw_job,
    refusal,
    succeeded_job,
    unschedulable,
    waiting,
)

NEVER = refusal(Reason.SOURCE_EMPTY, Retry.NEVER).model_dump_json(by_alias=True)
STORE_DOWN = refusal(Reason.STORE_UNREACHABLE, Retry.ENVIRONMENT).model_dump_json(by_alias=True)
GOOD = PROVISIONED.model_dump_json(by_alias=True)


@pytest.mark.parametrize(
    ("jobs", "recorded", "state", "number"),
    [
        pytest.param((), 0, State.START, 1, id="without a job the first attempt starts"),
        pytest.param((), 4, State.START, 5, id="a number that the status has seen is not reused"),
        pytest.param(
            (make_job(3, deleting=True),), 0, State.START, 4,
            id="a job that is being deleted does not count but keeps its number",
        ),
        pytest.param(
            (make_job(1, "old"),), 1, State.START, 2, id="another recipe is another attempt"
        ),
        pytest.param((make_job(1),), 1, State.WAITING, 1, id="a job without a pod waits"),
        pytest.param(
            (make_job(1, phase="Pending"),), 1, State.WAITING, 1,
            id="a job with a pending pod waits",
        ),
        pytest.param(
            (make_job(2, phase="Running"),), 1, State.RUNNING, 2, id="a job with a running pod runs"
        ),
        pytest.param(
            (make_job(2, phase="Succeeded"),), 1, State.RUNNING, 2,
            id="a job whose pod has just ended runs until it says so itself",
        ),
        pytest.param(
            (succeeded_job(PROVISIONED),), 1, State.SUCCEEDED, 1,
            id="a job that succeeded with an outcome succeeded",
        ),
        pytest.param(
            (make_job(1, ended_at=NOW, succeeded=True),), 1, State.RETRY, 1,
            id="a job that succeeded without an outcome is tried again",
        ),
        pytest.param(
            (failed_job(137, "OOMKilled"),), 1, State.RETRY, 1, id="a failed job is tried again"
        ),
        pytest.param(
            (failed_job(64, message=NEVER),), 1, State.FAILED, 1,
            id="a failure that would come again is final",
        ),
        pytest.param(
            (failed_job(1, message=GOOD),), 1, State.RETRY, 1,
            id="a failed job is not believed its success",
        ),
    ],
)  # fmt: skip
def test_the_attempt_that_should_exist(
    jobs: tuple[JobView, ...], recorded: int, state: State, number: int
) -> None:
    decided = decide_attempt(jobs, "r", NOW, recorded=recorded)
    assert (decided.state, decided.number) == (state, number)


@pytest.mark.parametrize(
    ("seconds", "state", "number", "wait"),
    [
        pytest.param(0, State.RETRY, 1, 40.0, id="at once the whole delay is waited"),
        pytest.param(39, State.RETRY, 1, 1.0, id="a second before the end a second is waited"),
        pytest.param(40, State.START, 2, None, id="after the delay the next attempt starts"),
    ],
)
def test_a_retry_waits_for_its_delay(
    seconds: float, state: State, number: int, wait: float | None
) -> None:
    decided = decide_attempt((failed_job(retries=2),), "r", at(seconds), recorded=1)
    assert (decided.state, decided.number, decided.wait_seconds) == (state, number, wait)


@pytest.mark.parametrize(
    ("ran_seconds", "wait", "retries"),
    [
        pytest.param(599, 40.0, 3, id="one that failed soon counts with those before it"),
        pytest.param(600, 10.0, 1, id="one that ran steadily begins the delays anew"),
    ],
)
def test_the_delays_begin_anew_after_an_attempt_that_ran(
    ran_seconds: float, wait: float, retries: int
) -> None:
    pod = ended(1, "Error", STORE_DOWN, started=at(-ran_seconds), finished=NOW)
    job = make_job(1, ended_at=NOW, phase="Failed", pod=pod, retries=2)
    assert decide_attempt((job,), "r", NOW, recorded=1).wait_seconds == wait
    following = decide_attempt((job,), "r", at(wait), recorded=1)
    assert (following.state, following.retries) == (State.START, retries)


def lonely(*, lost: int, speed: int | None = None, nodes: int = 1, failures: int = 0) -> JobView:
    """A Job whose pod began and lost its peers; a `speed` is known from the first step on."""
    progress = told().model_copy(update={"tokens_per_second": speed, "checkpoint": None})
    outcome = refusal(Reason.PEER_LOST, Retry.ENVIRONMENT)
    said = outcome.model_copy(update={"progress": progress}).model_dump_json(by_alias=True)
    raw = raw_job(retries=5, failures=failures, nodes=nodes)
    raw["metadata"]["annotations"][ANNOTATION_LOST] = str(lost)
    end_job(raw, at(60), succeeded=False)
    return job_view(raw, [make_pod(raw, "Failed", **ended(1, "Error", said, NOW, at(60)))])


@pytest.mark.parametrize(
    ("job", "lost", "failures"),
    [
        pytest.param(lonely(lost=0), 1, 0, id="the first before a step is remembered"),
        pytest.param(lonely(lost=LOST_MOST - 1), LOST_MOST, 0, id="a few in a row are borne"),
        pytest.param(lonely(lost=LOST_MOST), LOST_MOST + 1, 1, id="one more counts"),
        pytest.param(lonely(lost=LOST_MOST, speed=100), 0, 0, id="not after a step"),
        pytest.param(lonely(lost=LOST_MOST, nodes=2), LOST_MOST, 0,
                     id="not where a pod never began: it had no node"),
    ],
)  # fmt: skip
def test_peers_lost_in_a_row_before_a_step_count_in_the_end(
    job: JobView, lost: int, failures: int
) -> None:
    following = decide_attempt((job,), "r", at(1000), recorded=1, backoff_limit=3)
    assert (following.state, following.lost, following.failures) == (State.START, lost, failures)


def test_peers_that_are_lost_for_ever_come_to_an_end() -> None:
    last = lonely(lost=LOST_MOST + 3, failures=3)
    decided = decide_attempt((last,), "r", at(1000), recorded=1, backoff_limit=3)
    assert (decided.state, decided.failures) == (State.FAILED, 4)
    assert decided.problem is not None
    assert decided.problem.reason is Reason.PEER_LOST


@pytest.mark.parametrize(
    ("durable", "wait"),
    [
        pytest.param(None, 240.0, id="none"),
        pytest.param(at(-1), 240.0, id="one of an attempt before"),
        pytest.param(at(30), 0.0, id="one of its own"),
    ],
)
def test_a_durable_checkpoint_begins_the_delays_and_the_count_anew(
    durable: datetime | None, wait: float
) -> None:
    decided = decide_attempt((lonely(lost=LOST_MOST),), "r", at(120), recorded=1, durable=durable)
    assert (decided.wait_seconds or 0.0) == wait
    following = decide_attempt(
        (lonely(lost=LOST_MOST),), "r", at(1000), recorded=1, durable=durable
    )
    assert (following.lost, following.retries) == ((LOST_MOST + 1, 6), (0, 1))[wait == 0.0]


def test_the_next_attempt_carries_its_retries_and_failures_and_no_problem() -> None:
    old = failed_job(retries=2, failures=1)
    decided = decide_attempt((old,), "r", at(1000), recorded=1, backoff_limit=3)
    assert (decided.retries, decided.failures, decided.problem) == (3, 2, None)
    assert decided.obsolete == (old,)


@pytest.mark.parametrize(
    ("job", "limit", "state", "failures"),
    [
        pytest.param(
            failed_job(failures=2), 3, State.RETRY, 3,
            id="the third of three allowed is tried again",
        ),
        pytest.param(
            failed_job(failures=3), 3, State.FAILED, 4, id="the fourth of three allowed is final"
        ),
        pytest.param(failed_job(), 0, State.FAILED, 1, id="with no retries the first is final"),
        pytest.param(
            failed_job(failures=9), None, State.RETRY, 10, id="without a limit there is no last one"
        ),
        pytest.param(
            failed_job(message=STORE_DOWN, failures=3), 3, State.RETRY, 3,
            id="what the environment did does not count",
        ),
        pytest.param(
            failed_job(143, "Error"), 0, State.RETRY, 0, id="an interruption does not count"
        ),
    ],
)  # fmt: skip
def test_only_the_users_failures_count(
    job: JobView, limit: int | None, state: State, failures: int
) -> None:
    decided = decide_attempt((job,), "r", NOW, recorded=1, backoff_limit=limit)
    assert (decided.state, decided.failures) == (state, failures)


def test_failures_survive_the_loss_of_their_job() -> None:
    decided = decide_attempt((), "r", NOW, recorded=3, recorded_failures=2, backoff_limit=3)
    assert (decided.state, decided.number, decided.failures) == (State.START, 4, 2)


def test_all_but_the_latest_job_are_obsolete() -> None:
    first, second = make_job(1), make_job(2)
    decided = decide_attempt((second, first), "r", NOW, recorded=2)
    assert (decided.number, decided.obsolete) == (2, (first,))


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        pytest.param(make_job(), None, id="nothing is known of a fresh job"),
        pytest.param(
            make_job(warnings=("exceeded quota: cpu",)), Reason.POD_REFUSED, id="a refused pod"
        ),
        pytest.param(
            make_job(phase="Pending", pod=unschedulable("0/1 nodes.")), Reason.UNSCHEDULABLE,
            id="an unschedulable pod",
        ),
        pytest.param(
            make_job(phase="Pending", pod=waiting("ErrImagePull", "no such image")),
            Reason.IMAGE_PULL_FAILED, id="an image that cannot be pulled",
        ),
        pytest.param(
            make_job(phase="Running", pod=ended(0)), None, id="a running pod has no obstacle"
        ),
    ],
)  # fmt: skip
def test_what_keeps_an_attempt_from_running(job: JobView, reason: Reason | None) -> None:
    decided = decide_attempt((job,), "r", NOW, recorded=1)
    assert (decided.problem.reason if decided.problem else None) == reason


def test_the_delay_doubles_up_to_its_cap() -> None:
    delays = [retry_delay_seconds(retries) for retries in range(7)]
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert retry_delay_seconds(10**6) == RETRY_MOST_SECONDS


def test_work_that_succeeded_is_done_again_under_a_new_number() -> None:
    jobs = (make_job(7, deleting=True), succeeded_job(PROVISIONED, 2))
    done = decide_attempt(jobs, "r", NOW, recorded=5)
    again = next_attempt(done, jobs, recorded=5)
    assert (again.state, again.number, again.retries) == (State.START, 8, 0)
    assert again.obsolete == (jobs[1],)


def test_a_message_that_is_no_outcome_is_not_one() -> None:
    job = failed_job(1, message=json.dumps({"succeeded": False, "reason": "Unheard-of"}))
    assert cause(job).reason is Reason.CRASHED


def test_a_job_that_cannot_start_is_given_up_for_one_with_the_corrected_image() -> None:
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    job = make_job(1, "r", phase="Pending", pod=waiting, image="registry/mistyped:1")
    same = decide_attempt((job,), "r", NOW, recorded=1, image="registry/mistyped:1")
    assert (same.state, same.number) == (State.WAITING, 1)
    corrected = decide_attempt((job,), "r", NOW, recorded=1, image="registry/right:1")
    assert (corrected.state, corrected.number) == (State.START, 2)
    assert corrected.obsolete == (job,)
