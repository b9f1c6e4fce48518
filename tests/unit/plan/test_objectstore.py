"""ObjectStore: provision, probe, heal, and clean up what is ours."""

import json
from datetime import datetime
from typing import Any

import pytest

from llmcloud.api.contract import Retry
from llmcloud.api.names import (
    ANNOTATION_RECIPE,
    ANNOTATION_REFRESH,
    ANNOTATION_SKIP_CLEANUP,
    FINALIZER,
    Kind,
    Reason,
)
from llmcloud.plan.children import JobView, PodView, pod_view
from llmcloud.plan.model import Manifest, Plan, timestamp
from llmcloud.plan.objectstore import CLEANUP_DEADLINE_SECONDS, StoreWorld, plan_object_store
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    PROVISIONED,
    REMOVED,
    at,
    by_type,
    condition,
    failed_job,
    make_job,
    make_owner,
    make_pod,
    raw_job,
    raw_pod,
    refusal,
    said,
    succeeded_job,
    unschedulable,
)

DELETE = {"reclaimPolicy": "Delete"}


def plan(
    *jobs: JobView,
    spec: Manifest | None = None,
    status: Manifest | None = None,
    now: datetime = NOW,
    deleted: datetime | None = None,
    pods: tuple[PodView, ...] = (),
    **metadata: Any,
) -> Plan:
    if deleted is not None:
        metadata["deletionTimestamp"] = timestamp(deleted)
    owner = make_owner(Kind.OBJECT_STORE, spec=spec, status=status, **metadata)
    return plan_object_store(StoreWorld(owner, jobs, now, deleted, pods), DEFAULTS)


def recipe_of(planned: Plan) -> str:
    (job,) = planned.applies
    recipe: str = job["metadata"]["annotations"][ANNOTATION_RECIPE]
    return recipe


def task_of(planned: Plan) -> Manifest:
    (job,) = planned.applies
    (variable,) = job["spec"]["template"]["spec"]["containers"][0]["env"]
    task: Manifest = json.loads(variable["value"])
    return task


RECIPE = recipe_of(plan())
GOOD = plan(succeeded_job(PROVISIONED, recipe=RECIPE)).status or {}


def test_a_new_store_gets_a_job_that_provisions_it() -> None:
    planned = plan()
    assert said(planned.status) == ("False", "Starting")
    assert planned.applies[0]["metadata"]["name"] == "it-store-a1"
    assert task_of(planned)["kind"] == "provision"
    assert not planned.finalizer


def test_a_provisioned_store_is_ready_and_looked_at_again_later() -> None:
    planned = plan(succeeded_job(PROVISIONED, recipe=RECIPE), now=at(600))
    assert said(planned.status) == ("True", "Provisioned")
    assert planned.applies == ()
    assert planned.requeue_seconds == DEFAULTS.store_check_seconds - 600


def test_a_protection_that_the_store_cannot_give_is_absent() -> None:
    assert GOOD["protections"] == {"encrypted": True, "versioned": False, "owned": False}
    assert GOOD["provisioned"] is True


def test_what_does_not_hold_is_named() -> None:
    said = by_type(GOOD)["Ready"]["message"]
    assert "; it is not versioned, not created by this object; the store does not tell" in said
    assert said.endswith("whether it is private")


def test_a_probe_leaves_a_good_store_ready() -> None:
    job = succeeded_job(PROVISIONED, recipe=RECIPE)
    planned = plan(job, status=GOOD, now=at(DEFAULTS.store_check_seconds))
    assert planned.applies[0]["metadata"]["name"] == "it-store-a2"
    assert planned.deletes == (job.ref,)
    assert said(planned.status) == ("True", "Provisioned")
    assert planned.status is not None
    assert planned.status["provisioned"] is True


def test_what_was_proven_is_not_proven_again_by_writing() -> None:
    late = at(DEFAULTS.store_check_seconds)
    job = succeeded_job(PROVISIONED, recipe=RECIPE)
    assert task_of(plan(job, status=GOOD, now=late))["proven"] is True
    assert "proven" not in task_of(plan(job, status={**GOOD, "writable": False}, now=late))
    assert "proven" not in task_of(plan(job, status={**GOOD, "recipe": "other"}, now=late))


def test_a_store_that_can_only_be_read_is_ready_and_says_so() -> None:
    assert PROVISIONED.provision is not None
    found = PROVISIONED.provision.model_copy(update={"writable": False})
    outcome = PROVISIONED.model_copy(update={"provision": found})
    planned = plan(succeeded_job(outcome, recipe=RECIPE))
    assert said(planned.status) == ("True", "Provisioned")
    assert planned.status is not None
    assert planned.status["writable"] is False
    assert "may not write" in by_type(planned.status)["Ready"]["message"]


def test_a_probe_that_cannot_be_scheduled_does_not_make_a_good_store_bad() -> None:
    stuck = make_job(2, RECIPE, phase="Pending", pod=unschedulable("0/1 nodes."))
    assert said(plan(stuck, status={**GOOD, "attempt": 2}).status) == ("True", "Provisioned")


def test_a_probe_that_fails_does() -> None:
    words = refusal(Reason.CREDENTIALS_REFUSED, Retry.USER).model_dump_json()
    planned = plan(failed_job(message=words, attempt=2, recipe=RECIPE), status=GOOD)
    assert said(planned.status) == ("False", "CredentialsRefused")
    assert planned.status is not None
    assert planned.status["provisioned"] is False
    assert planned.requeue_seconds == 10.0


@pytest.mark.parametrize(
    ("reason", "retry", "word"),
    [
        pytest.param(
            Reason.STORE_UNREACHABLE, Retry.ENVIRONMENT, "Reconciling", id="out of reach"
        ),
        pytest.param(
            Reason.DISK_FULL, Retry.USER, "Reconciling",
            id="what its user can change, and which is tried again meanwhile",
        ),
        pytest.param(
            Reason.BUCKET_NOT_OWNED, Retry.NEVER, "Stalled", id="what stays as it is"
        ),
    ],
)  # fmt: skip
def test_a_store_that_is_tried_again_is_reconciling_and_only_others_are_stalled(
    reason: Reason, retry: Retry, word: str
) -> None:
    words = refusal(reason, retry).model_dump_json()
    planned = plan(failed_job(message=words, recipe=RECIPE))
    assert said(planned.status) == ("False", reason)
    held = {type_ for type_, one in by_type(planned.status).items() if one["status"] == "True"}
    assert held == {word}
    assert (planned.requeue_seconds is None) is (word == "Stalled")


def test_a_good_store_whose_job_is_lost_is_probed_anew() -> None:
    planned = plan(status=GOOD)
    assert planned.applies[0]["metadata"]["name"] == "it-store-a2"
    assert said(planned.status) == ("True", "Provisioned")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            {"spec": {"credentials": {"secretRef": {"name": "new"}}}}, id="other credentials"
        ),
        pytest.param({"spec": {"serviceAccountName": "data"}}, id="another service account"),
        pytest.param({"annotations": {ANNOTATION_REFRESH: "now"}}, id="a wish to look again"),
    ],
)
def test_a_store_is_provisioned_anew_for(change: dict[str, Any]) -> None:
    job = succeeded_job(PROVISIONED, recipe=RECIPE)
    planned = plan(job, status=GOOD, **change)
    assert planned.applies[0]["metadata"]["name"] == "it-store-a2"
    assert planned.deletes == (job.ref,)
    assert said(planned.status) == ("False", "Starting")


@pytest.mark.parametrize(
    ("change", "held"),
    [
        pytest.param({}, False, id="data that stays needs no finalizer"),
        pytest.param({"spec": DELETE}, True, id="a bucket to be removed needs one"),
        pytest.param(
            {"spec": DELETE, "annotations": {ANNOTATION_SKIP_CLEANUP: "true"}}, False,
            id="the annotation lets go",
        ),
        pytest.param(
            {"spec": {**DELETE, "bucket": "X"}, "finalizers": [FINALIZER]}, True,
            id="an invalid store keeps what it has",
        ),
    ],
)  # fmt: skip
def test_the_finalizer(change: dict[str, Any], held: bool) -> None:
    assert plan(**change).finalizer is held


def test_an_invalid_store_says_which_field() -> None:
    planned = plan(spec={"bucket": "X"})
    ready = by_type(planned.status)["Ready"]
    assert (ready["reason"], ready["status"]) == ("SpecInvalid", "False")
    assert ready["message"].startswith("spec.bucket: ")


class TestDeletion:
    def going(self, *jobs: JobView, seconds: float = 0, **more: Any) -> Plan:
        more = {"spec": DELETE, "finalizers": [FINALIZER], **more}
        return plan(*jobs, deleted=NOW, now=at(seconds), **more)

    def test_the_bucket_goes_first(self) -> None:
        planned = self.going(succeeded_job(PROVISIONED, recipe=RECIPE))
        assert task_of(planned)["kind"] == "delete-store"
        assert planned.finalizer
        assert said(planned.status) == ("False", "Deleting")

    def test_then_the_object(self) -> None:
        recipe = recipe_of(self.going())
        planned = self.going(succeeded_job(REMOVED, 2, recipe))
        assert (planned.finalizer, planned.applies, planned.status) == (False, (), None)

    def test_a_failure_tells_how_to_let_go(self) -> None:
        words = refusal(Reason.BUCKET_NOT_OWNED, Retry.NEVER, "Not ours.").model_dump_json()
        recipe = recipe_of(self.going())
        planned = self.going(failed_job(message=words, recipe=recipe), seconds=5)
        assert planned.finalizer
        assert said(planned.status) == ("False", "CleanupFailed")
        message = by_type(planned.status)["Ready"]["message"]
        assert "Not ours." in message
        assert ANNOTATION_SKIP_CLEANUP in message

    def test_the_deadline_lets_go(self) -> None:
        assert not self.going(seconds=CLEANUP_DEADLINE_SECONDS).finalizer
        assert self.going(seconds=CLEANUP_DEADLINE_SECONDS - 1).requeue_seconds == 1.0

    def test_the_deadline_leaves_an_event_that_names_the_bucket(self) -> None:
        words = refusal(Reason.BUCKET_NOT_OWNED, Retry.NEVER, "Not ours.").model_dump_json()
        job = failed_job(message=words, recipe=recipe_of(self.going()))
        (notice,) = self.going(job, seconds=CLEANUP_DEADLINE_SECONDS).notices
        assert (notice.warning, notice.reason) == (True, "CleanupFailed")
        assert all(word in notice.message for word in ("bucket team-a", "by hand", "Not ours."))
        assert self.going(job, seconds=CLEANUP_DEADLINE_SECONDS - 1).notices == ()
        kept = self.going(spec={}, seconds=CLEANUP_DEADLINE_SECONDS)
        assert kept.notices == ()

    def test_a_pod_that_may_still_make_the_bucket_is_waited_for(self) -> None:
        raw = raw_job(1, RECIPE)
        job = make_job(1, RECIPE, phase="Running")
        status: Manifest = {"attempt": 1}
        first = self.going(job, pods=job.pods, status=status)
        assert (first.applies, first.deletes, first.finalizer) == ((), (job.ref,), True)
        assert said(first.status) == ("False", "Deleting")
        assert first.requeue_seconds == 2.0
        pod = raw_pod(raw, "Running")
        pod["metadata"]["deletionTimestamp"] = timestamp(at(30))
        ending = pod_view(pod)
        second = self.going(pods=(ending,), status=first.status, seconds=5)
        assert (second.applies, second.status) == ((), first.status)
        for pods, seconds in (((), 5), ((ending,), 30)):
            third = self.going(pods=pods, status=second.status, seconds=seconds)
            assert third.applies[0]["metadata"]["name"] == "it-store-a2"
            assert task_of(third)["kind"] == "delete-store"

    def test_a_number_is_not_used_twice_though_no_status_was_written(self) -> None:
        ended = make_pod(raw_job(1, RECIPE), "Failed")
        assert self.going(pods=(ended,)).applies[0]["metadata"]["name"] == "it-store-a2"

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"spec": {}}, id="the data is to be kept"),
            pytest.param({"annotations": {ANNOTATION_SKIP_CLEANUP: ""}}, id="the user lets go"),
            pytest.param(
                {"finalizers": ["foregroundDeletion"]}, id="nothing was created under a finalizer"
            ),
            pytest.param({"spec": {**DELETE, "bucket": "X"}}, id="nobody knows which bucket"),
        ],
    )
    def test_nothing_is_removed_if(self, change: dict[str, Any]) -> None:
        planned = self.going(**change)
        assert (planned.finalizer, planned.applies) == (False, ())

    def test_a_status_that_counts_down_is_not_written(self) -> None:
        words = refusal(Reason.BUCKET_NOT_OWNED, Retry.NEVER, "Not ours.").model_dump_json()
        job = failed_job(message=words, recipe=recipe_of(self.going()))
        first = self.going(job, seconds=5)
        assert self.going(job, seconds=90, status=first.status).status == first.status


def test_conditions_of_an_older_generation_are_not_ready() -> None:
    status = {**GOOD, "conditions": [condition("Ready", "True", "Provisioned", "Fine")]}
    planned = plan(succeeded_job(PROVISIONED, recipe=RECIPE), status=status, generation=2)
    assert by_type(planned.status)["Ready"]["observedGeneration"] == 2
