"""LLMTrainingJob: wait, pin, run, suspend, retry, and end once."""

import json
from datetime import datetime
from typing import Any

import pytest

from llmcloud.api.contract import CheckpointStatus, Progress, Retry
from llmcloud.api.names import ANNOTATION_RECIPE, Kind, Reason
from llmcloud.plan.children import ANNOTATION_FAILURES, ANNOTATION_INPUTS, JobView, PodView
from llmcloud.plan.model import Manifest, Owner, Plan
from llmcloud.plan.training import PROGRESS_SECONDS, plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.worlds import (
    DEFAULTS,
    MODEL_DIGEST,
    NOW,
    VERSION_1,
    VERSION_2,
    at,
    by_type,
    failed_job,
    make_job,
    make_owner,
    make_pod,
    ready_dataset,
    ready_store,
    refusal,
    said,
    succeeded_job,
    trained,
    unschedulable,
)

STORES = (("work", ready_store("work")),)
DATASET = ready_dataset()


def plan(
    *jobs: JobView,
    dataset: Owner | None = DATASET,
    stores: tuple[tuple[str, Owner | None], ...] = STORES,
    spec: Manifest | None = None,
    status: Manifest | None = None,
    now: datetime = NOW,
    pods: tuple[PodView, ...] = (),
    progress: Progress | None = None,
    **metadata: Any,
) -> Plan:
    owner = make_owner(Kind.TRAINING_JOB, spec=spec, status=status, **metadata)
    datasets = (dataset,) if dataset else ()
    world = TrainingWorld(owner, datasets, stores, jobs, now, pods, progress)
    return plan_training(world, DEFAULTS)


def status_of(planned: Plan) -> Manifest:
    assert planned.status is not None
    return planned.status


STARTED = status_of(plan())
RECIPE: str = plan().applies[0]["metadata"]["annotations"][ANNOTATION_RECIPE]


def job(attempt: int = 1, **more: Any) -> JobView:
    return make_job(attempt, RECIPE, version=VERSION_1, **more)


def failed(code: int = 1, reason: str = "Error", message: str = "", **more: Any) -> JobView:
    return failed_job(code, reason, message, recipe=RECIPE, version=VERSION_1, **more)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        pytest.param({"dataset": None}, Reason.DATASET_NOT_FOUND, id="its dataset"),
        pytest.param(
            {"dataset": make_owner(Kind.DATASET, "corpus")}, Reason.DATASET_NOT_READY,
            id="its dataset's first version",
        ),
        pytest.param({"stores": (("work", None),)}, Reason.STORE_NOT_FOUND, id="its store"),
        pytest.param(
            {"stores": (("work", make_owner(Kind.OBJECT_STORE, "work")),)}, Reason.STORE_NOT_READY,
            id="its store to be ready",
        ),
    ],
)  # fmt: skip
def test_a_job_waits_for(missing: dict[str, Any], reason: Reason) -> None:
    planned = plan(**missing)
    assert said(planned.status) == ("False", reason)
    assert status_of(planned)["phase"] == "Pending"
    assert (planned.applies, planned.requeue_seconds) == ((), None)


def test_an_attempt_starts_with_its_version_pinned_on_the_job_and_in_the_status() -> None:
    planned = plan()
    (child,) = planned.applies
    task = json.loads(child["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"])
    assert child["metadata"]["name"] == "it-train-a1"
    pins = json.loads(child["metadata"]["annotations"][ANNOTATION_INPUTS])
    assert pins == {"datasets": [{"name": "corpus", "version": VERSION_1}]}
    assert status_of(planned)["inputs"]["datasets"] == [{"name": "corpus", "version": VERSION_1}]
    (learned,) = task["datasets"]
    assert (learned["version"], learned["path"]) == (VERSION_1, "corpus/")
    assert (status_of(planned)["phase"], said(planned.status)) == (
        "Starting",
        ("False", "Starting"),
    )


@pytest.mark.parametrize(
    ("world", "version"),
    [
        pytest.param({}, VERSION_2, id="the newest, if nothing says otherwise"),
        pytest.param(
            {"spec": {"datasets": [{"name": "corpus", "version": VERSION_1}]}}, VERSION_1,
            id="the one that is asked for",
        ),
        pytest.param({"status": STARTED}, VERSION_1, id="the one that was pinned"),
    ],
)  # fmt: skip
def test_which_version_is_trained_on(world: dict[str, Any], version: str) -> None:
    planned = plan(dataset=ready_dataset(version=VERSION_2), **world)
    assert status_of(planned)["inputs"]["datasets"][0]["version"] == version


def test_a_crash_between_job_and_status_does_not_change_the_version() -> None:
    planned = plan(job(), dataset=ready_dataset(version=VERSION_2))
    assert planned.applies == ()
    assert status_of(planned)["inputs"]["datasets"][0]["version"] == VERSION_1


def report(attempt: int = 1, phase: Any = "Running") -> Progress:
    saved = CheckpointStatus(step=40, url="s3://c/40/", time="2026-05-01T12:00:00Z", bytes=9)
    return Progress(
        phase=phase, attempt=attempt, step=50, total_steps=100, percent=50, checkpoint=saved
    )


@pytest.mark.parametrize(
    ("progress", "before", "phase"),
    [
        pytest.param(None, {}, "Starting", id="a pod that has not reported starts"),
        pytest.param(report(), {}, "Running", id="a pod that reports steps runs"),
        pytest.param(report(phase="Evaluating"), {}, "Evaluating", id="a pod that evaluates"),
        pytest.param(
            None, {"attempt": 1, "phase": "Running"}, "Running",
            id="a report that is late takes nothing back",
        ),
        pytest.param(
            report(attempt=7), {}, "Starting", id="another attempt's pod is not listened to"
        ),
    ],
)  # fmt: skip
def test_the_phase_of_a_running_attempt(
    progress: Progress | None, before: Manifest, phase: str
) -> None:
    planned = plan(job(phase="Running"), progress=progress, status=before)
    assert (status_of(planned)["phase"], said(planned.status)) == (phase, ("False", phase))
    assert planned.requeue_seconds == PROGRESS_SECONDS
    assert ("checkpoint" in status_of(planned)) is (progress is not None and progress.attempt == 1)


def test_what_the_pod_says_of_its_start_is_told_until_the_phase_changes() -> None:
    note = "The checkpoints of these steps are corrupt or gone and were left aside: 12"
    told = report().model_copy(update={"note": note})
    first = status_of(plan(job(phase="Running"), progress=told))
    silent = plan(job(phase="Running"), status=first)
    for status in (first, status_of(silent)):
        assert by_type(status)["Ready"]["message"] == f"Attempt 1 is running. {note}"
    later = plan(job(phase="Running"), status=first, progress=report(phase="Evaluating"))
    assert by_type(later.status)["Ready"]["message"] == "Attempt 1 is evaluating"


def test_an_obstacle_is_told() -> None:
    stuck = job(phase="Pending", pod=unschedulable("0/1 nodes."))
    assert said(plan(stuck).status) == ("False", "Unschedulable")
    assert status_of(plan(stuck))["phase"] == "Pending"


class TestEnd:
    def test_a_model_completes_the_job(self) -> None:
        planned = plan(succeeded_job(trained(), recipe=RECIPE, version=VERSION_1))
        status = status_of(planned)
        types = by_type(status)
        assert (types["Ready"]["status"], types["Complete"]["status"]) == ("True", "True")
        assert (types["Failed"]["status"], types["Stalled"]["status"]) == ("False", "False")
        assert (status["phase"], status["model"]["digest"]) == ("Succeeded", MODEL_DIGEST)
        assert status["progress"]["percent"] == 100
        assert status["evaluation"]["baselines"][0]["name"] == "unigram"

    def test_a_success_whose_pod_is_gone_is_asked_for_again_and_counts_nothing(self) -> None:
        """The next attempt finds the result in the store (tests/training/test_result.py)."""
        wordless = make_job(1, RECIPE, ended_at=NOW, succeeded=True, version=VERSION_1)
        planned = plan(wordless, now=at(4))
        assert (said(planned.status), planned.requeue_seconds) == (("False", "Preempted"), 6.0)
        assert status_of(planned)["failures"] == 0
        assert plan(wordless, now=at(10)).applies[0]["metadata"]["name"] == "it-train-a2"

    def test_a_model_that_misses_its_gate_fails_the_job_and_stays(self) -> None:
        outcome = trained(passed=False)
        planned = plan(succeeded_job(outcome, recipe=RECIPE, version=VERSION_1))
        types = by_type(planned.status)
        assert said(planned.status) == ("False", "GateNotPassed")
        assert (types["Failed"]["status"], types["Complete"]["status"]) == ("True", "False")
        assert "perplexity 12.5" in types["Failed"]["message"]
        assert status_of(planned)["model"]["digest"] == MODEL_DIGEST

    @pytest.mark.parametrize("passed", [True, False])
    def test_final_stays_final(self, passed: bool) -> None:
        end = status_of(plan(succeeded_job(trained(passed=passed), recipe=RECIPE)))
        later = plan(dataset=None, stores=(), status=end, now=at(99999), spec={"suspend": True})
        assert (later.applies, later.deletes, later.requeue_seconds) == ((), (), None)
        assert later.status == end

    def test_what_is_final_follows_the_generation_only(self) -> None:
        end = status_of(plan(succeeded_job(trained(), recipe=RECIPE)))
        seen = status_of(plan(status=end, generation=2, now=at(9999)))
        assert seen["observedGeneration"] == 2
        assert {c["observedGeneration"] for c in seen["conditions"]} == {2}
        assert {c["lastTransitionTime"] for c in seen["conditions"]} == {
            c["lastTransitionTime"] for c in end["conditions"]
        }


class TestRetry:
    def test_a_crash_is_tried_again_after_a_delay(self) -> None:
        planned = plan(failed(failures=1), now=at(4))
        assert said(planned.status) == ("False", "Crashed")
        assert status_of(planned)["failures"] == 2
        assert by_type(planned.status)["Reconciling"]["status"] == "True"
        assert planned.requeue_seconds == 6.0

    def test_the_next_attempt_replaces_the_last_and_remembers(self) -> None:
        last = failed(failures=1)
        planned = plan(last, now=at(10))
        assert planned.applies[0]["metadata"]["name"] == "it-train-a2"
        assert planned.applies[0]["metadata"]["annotations"][ANNOTATION_FAILURES] == "2"
        assert planned.deletes == (last.ref,)

    @pytest.mark.parametrize(
        ("spec", "failures", "failed_for_good"),
        [
            pytest.param({}, 2, False, id="the third of three"),
            pytest.param({}, 3, True, id="the fourth of three"),
            pytest.param({"backoffLimit": 0}, 0, True, id="the first of none"),
        ],
    )
    def test_the_limit_of_failures(
        self, spec: Manifest, failures: int, failed_for_good: bool
    ) -> None:
        planned = plan(failed(137, "OOMKilled", failures=failures), spec=spec)
        assert (by_type(planned.status)["Failed"]["status"] == "True") is failed_for_good
        reason = "BackoffLimitExceeded" if failed_for_good else "OutOfMemory"
        assert said(planned.status) == ("False", reason)

    def test_the_last_failure_is_told_with_the_limit(self) -> None:
        planned = plan(failed(137, "OOMKilled"), spec={"backoffLimit": 0})
        message = by_type(planned.status)["Failed"]["message"]
        assert "spec.backoffLimit 0" in message
        assert "OutOfMemory" in message

    def test_what_would_fail_again_is_final_at_once(self) -> None:
        words = refusal(Reason.LOSS_NOT_FINITE, Retry.NEVER, "Loss is nan").model_dump_json()
        planned = plan(failed(64, message=words))
        assert said(planned.status) == ("False", "LossNotFinite")
        assert by_type(planned.status)["Failed"]["status"] == "True"

    def test_a_drained_node_counts_nothing(self) -> None:
        planned = plan(failed(143, failures=3))
        assert (status_of(planned)["failures"], said(planned.status)[1]) == (3, "Preempted")


class TestSuspension:
    SUSPENDED = {"suspend": True}

    def test_the_job_is_deleted_and_its_pods_checkpoint(self) -> None:
        running = job(phase="Running")
        planned = plan(running, spec=self.SUSPENDED, progress=report(), pods=running.pods)
        assert planned.deletes == (running.ref,)
        assert by_type(planned.status)["Suspended"]["status"] == "False"
        assert status_of(planned)["checkpoint"]["step"] == 40
        assert planned.requeue_seconds == PROGRESS_SECONDS

    def test_a_job_without_pods_is_suspended_at_once(self) -> None:
        planned = plan(job(), spec=self.SUSPENDED)
        assert len(planned.deletes) == 1
        assert by_type(planned.status)["Suspended"]["status"] == "True"

    def test_while_a_pod_stops_it_is_not_suspended_yet(self) -> None:
        planned = plan(spec=self.SUSPENDED, pods=(make_pod(phase="Running"),))
        assert by_type(planned.status)["Suspended"]["status"] == "False"

    def test_then_it_is(self) -> None:
        planned = plan(spec=self.SUSPENDED, status={"attempt": 1, "failures": 1})
        assert by_type(planned.status)["Suspended"]["status"] == "True"
        status = status_of(planned)
        assert (status["phase"], status["attempt"], status["failures"]) == ("Suspended", 1, 1)
        assert (planned.applies, planned.requeue_seconds) == ((), None)

    def test_a_failure_just_before_still_counts(self) -> None:
        planned = plan(failed(137, "OOMKilled", failures=1), spec=self.SUSPENDED)
        assert status_of(planned)["failures"] == 2

    def test_a_job_that_ended_before_is_complete(self) -> None:
        done = succeeded_job(trained(), recipe=RECIPE, version=VERSION_1)
        planned = plan(done, spec=self.SUSPENDED)
        assert by_type(planned.status)["Complete"]["status"] == "True"

    def test_a_job_born_suspended_never_starts(self) -> None:
        planned = plan(spec=self.SUSPENDED, dataset=None)
        assert (planned.applies, said(planned.status)) == ((), ("False", "Suspended"))

    def test_resuming_is_a_new_attempt_with_the_same_version(self) -> None:
        suspended = status_of(plan(spec=self.SUSPENDED, status=STARTED))
        planned = plan(status=suspended, dataset=ready_dataset(version=VERSION_2))
        assert planned.applies[0]["metadata"]["name"] == "it-train-a2"
        assert status_of(planned)["inputs"]["datasets"][0]["version"] == VERSION_1
        assert by_type(planned.status)["Suspended"]["status"] == "False"


def test_where_a_job_runs_does_not_change_its_recipe() -> None:
    elsewhere = plan(spec={"resources": {"cpu": "8"}, "checkpoint": {"everySteps": 7}})
    assert elsewhere.applies[0]["metadata"]["annotations"][ANNOTATION_RECIPE] == RECIPE
    other = plan(spec={"hyperparameters": {"maxSteps": 101}})
    assert other.applies[0]["metadata"]["annotations"][ANNOTATION_RECIPE] != RECIPE


def test_an_invalid_job_waits_for_its_correction() -> None:
    planned = plan(spec={"task": "unheard-of"})
    types = by_type(planned.status)
    assert said(planned.status) == ("False", "SpecInvalid")
    assert (types["Stalled"]["status"], types["Failed"]["status"]) == ("True", "False")


def test_nothing_is_planned_for_what_is_going() -> None:
    assert plan(deletionTimestamp="2026-01-01T00:00:00Z") == Plan()


class TestPlacement:
    SPEC = {"placement": [{"zone": "a", "waitSeconds": 60}, {"zone": "b"}]}
    NO_NODE = unschedulable("0/3 nodes are available.")

    def zones(self, planned: Plan) -> list[str]:
        spec = planned.applies[0]["spec"]["template"]["spec"]
        node = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = node["nodeSelectorTerms"]
        values: list[str] = term["matchExpressions"][0]["values"]
        return values

    def test_the_first_place_comes_first(self) -> None:
        assert self.zones(plan(spec=self.SPEC)) == ["a"]

    def test_a_job_without_a_node_is_looked_at_when_it_has_waited_long_enough(self) -> None:
        waiting = job(phase="Pending", pod=self.NO_NODE)
        planned = plan(waiting, spec=self.SPEC, now=at(20))
        assert (planned.applies, planned.requeue_seconds) == ((), 40)
        assert said(planned.status) == ("False", "Unschedulable")

    def test_then_another_attempt_goes_to_the_next_place(self) -> None:
        waiting = job(phase="Pending", pod=self.NO_NODE, failures=1)
        planned = plan(waiting, spec=self.SPEC, now=at(60), status={"attempt": 1})
        assert planned.applies[0]["metadata"]["name"] == "it-train-a2"
        assert self.zones(planned) == ["b"]
        assert planned.deletes == (waiting.ref,)
        assert status_of(planned)["failures"] == 1

    def test_an_attempt_after_a_failure_begins_with_the_first_place_again(self) -> None:
        planned = plan(failed(143, place=1), spec=self.SPEC, now=at(10))
        assert self.zones(planned) == ["a"]

    def test_what_cannot_be_placed_waits_and_says_why(self) -> None:
        planned = plan(spec={"resources": {"accelerator": "nvidia-h100"}})
        assert said(planned.status) == ("False", "AcceleratorUnknown")
        assert by_type(planned.status)["Stalled"]["status"] == "True"
        assert planned.applies == ()
