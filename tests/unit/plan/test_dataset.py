"""LLMDataset: prepare a version when asked for another one, and never twice the same."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from llmcloud.api.contract import Progress, Retry
from llmcloud.api.names import ANNOTATION_RECIPE, ANNOTATION_REFRESH, Kind, Reason
from llmcloud.plan.children import JobView
from llmcloud.plan.dataset import PROGRESS_SECONDS, DatasetWorld, plan_dataset, version_path
from llmcloud.plan.model import Manifest, Owner, Plan
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    PREPARED,
    VERSION_1,
    VERSION_2,
    by_type,
    failed_job,
    make_job,
    make_owner,
    ready_store,
    refusal,
    said,
    succeeded_job,
    unschedulable,
)

Stores = tuple[tuple[str, Owner | None], ...]
READY: Stores = (("work", ready_store("work")), ("raw", ready_store("raw")))
NO_WORK: Stores = (("work", None), ("raw", ready_store("raw")))


def plan(
    *jobs: JobView,
    stores: Stores = READY,
    spec: Manifest | None = None,
    status: Manifest | None = None,
    now: datetime = NOW,
    progress: Progress | None = None,
    in_use: frozenset[str] = frozenset(),
    **metadata: Any,
) -> Plan:
    owner = make_owner(Kind.DATASET, spec=spec, status=status, **metadata)
    return plan_dataset(DatasetWorld(owner, stores, jobs, now, progress, in_use), DEFAULTS)


def task_of(planned: Plan) -> Manifest:
    (container,) = planned.applies[0]["spec"]["template"]["spec"]["containers"]
    task: Manifest = json.loads(container["env"][0]["value"])
    return task


RECIPE: str = plan().applies[0]["metadata"]["annotations"][ANNOTATION_RECIPE]
GOOD = plan(succeeded_job(PREPARED, recipe=RECIPE)).status or {}


def test_a_new_dataset_gets_a_job_with_its_task() -> None:
    planned = plan()
    (job,) = planned.applies
    (container,) = job["spec"]["template"]["spec"]["containers"]
    task = json.loads(container["env"][0]["value"])
    assert job["metadata"]["name"] == "it-data-a1"
    assert said(planned.status) == ("False", "Starting")
    assert (task["kind"], task["attempt"], task["workers"]) == ("dataset", 1, 1)
    assert [source["store"]["name"] for source in task["sources"]] == ["raw"]
    assert (task["output"]["name"], task["outputPath"]) == ("work", "corpus/")


def test_workers_are_pods_of_one_indexed_job() -> None:
    (job,) = plan(spec={"workers": 4}).applies
    members = ("completionMode", "completions", "parallelism")
    assert [job["spec"][member] for member in members] == ["Indexed", 4, 4]
    assert task_of(plan(spec={"workers": 4}))["workers"] == 4


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"annotations": {ANNOTATION_REFRESH: "today"}}, id="when it is looked at"),
        pytest.param({"spec": {"workers": 4}}, id="by how many"),
        pytest.param({"spec": {"output": {"store": {"name": "work"}}}}, id="where it lies"),
        pytest.param({"name": "other", "uid": "other"}, id="whose it is"),
    ],
)
def test_the_recipe_of_a_version_does_not_depend_on(change: dict[str, Any]) -> None:
    """So that a version that the store holds already is found and adopted."""
    assert task_of(plan())["recipe"] == task_of(plan(**change))["recipe"]


@pytest.mark.parametrize(
    ("stores", "reason"),
    [
        pytest.param(NO_WORK, Reason.STORE_NOT_FOUND, id="a store that does not exist"),
        pytest.param(
            (("work", ready_store("work")), ("raw", make_owner(Kind.OBJECT_STORE, "raw"))),
            Reason.STORE_NOT_READY, id="a store that is not ready",
        ),
    ],
)  # fmt: skip
def test_a_dataset_waits_for(stores: Stores, reason: Reason) -> None:
    planned = plan(stores=stores)
    assert said(planned.status) == ("False", reason)
    assert by_type(planned.status)["Reconciling"]["status"] == "True"
    assert planned.applies == ()


def test_what_was_prepared_is_told() -> None:
    assert said(GOOD) == ("True", "Prepared")
    told = {
        key: GOOD[key]
        for key in (
            "version", "versions", "documents", "validationDocuments", "documentsRead", "shards",
            "rejected", "redacted",
        )
    }  # fmt: skip
    assert told == {
        "version": VERSION_1,
        "versions": [VERSION_1],
        "documents": 10,
        "validationDocuments": 1,
        "documentsRead": 11,
        "shards": 2,
        "rejected": {"empty": 1},
        "redacted": {"email": 2},
    }
    assert GOOD["url"] == f"s3://team-a/corpus/versions/{'1' * 64}/"


def test_a_version_path_has_no_colon() -> None:
    assert version_path("corpus/", VERSION_1) == f"corpus/versions/{'1' * 64}/"


def test_the_newest_version_comes_first_and_none_twice() -> None:
    before = {**GOOD, "version": VERSION_2, "versions": [VERSION_2, VERSION_1]}
    planned = plan(succeeded_job(PREPARED, recipe=RECIPE), status=before)
    assert planned.status is not None
    assert planned.status["versions"] == [VERSION_1, VERSION_2]


def test_a_new_versions_url_does_not_wait_for_its_store() -> None:
    before = {**GOOD, "version": VERSION_2, "url": "s3://team-a/old/"}
    unready = (("work", make_owner(Kind.OBJECT_STORE, "work")), READY[1])
    planned = plan(succeeded_job(PREPARED, recipe=RECIPE), status=before, stores=unready)
    assert (planned.status or {})["url"] == GOOD["url"]


def test_a_url_outlives_its_store() -> None:
    planned = plan(succeeded_job(PREPARED, recipe=RECIPE), status=GOOD, stores=NO_WORK)
    assert planned.status == GOOD


def test_a_version_outlives_its_job() -> None:
    planned = plan(status=GOOD, stores=NO_WORK)
    assert planned.applies == ()
    assert said(planned.status) == ("True", "Prepared")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"spec": {"prepare": {"split": {"validationFraction": 0.2}}}}, id="a split"),
        pytest.param({"annotations": {ANNOTATION_REFRESH: "today"}}, id="a wish to look again"),
    ],
)
def test_another_version_is_prepared_for(change: dict[str, Any]) -> None:
    job = succeeded_job(PREPARED, recipe=RECIPE)
    planned = plan(job, status=GOOD, **change)
    assert planned.applies[0]["metadata"]["name"] == "it-data-a2"
    assert planned.deletes == (job.ref,)
    assert (planned.status or {})["version"] == VERSION_1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"spec": {"resources": {"cpu": "4"}}}, id="other resources"),
        pytest.param({"spec": {"workers": 4}}, id="more workers"),
        pytest.param({"spec": {"pod": {"labels": {"team": "a"}}}}, id="labels of pods"),
    ],
)
def test_no_other_version_is_prepared_for(change: dict[str, Any]) -> None:
    planned = plan(succeeded_job(PREPARED, recipe=RECIPE), status=GOOD, **change)
    assert (planned.applies, planned.deletes) == ((), ())


@pytest.mark.parametrize(
    ("attempt", "report", "before", "percent"),
    [
        pytest.param(1, Progress(attempt=1, percent=40), {}, 40, id="as reported"),
        pytest.param(1, None, {}, 0, id="nothing reported yet"),
        pytest.param(
            1, None, {"attempt": 1, "progress": {"percent": 30}}, 30,
            id="a report that is late takes nothing back",
        ),
        pytest.param(
            2, None, {"attempt": 1, "progress": {"percent": 30}}, 0,
            id="another attempt begins anew",
        ),
        pytest.param(
            2, Progress(attempt=1, percent=90), {}, 0, id="an older attempt is not listened to"
        ),
    ],
)  # fmt: skip
def test_progress(attempt: int, report: Progress | None, before: Manifest, percent: int) -> None:
    running = make_job(attempt, RECIPE, phase="Running")
    planned = plan(running, status=before, progress=report)
    assert said(planned.status) == ("False", "Running")
    assert (planned.status or {})["progress"] == {"percent": percent}
    assert planned.requeue_seconds == PROGRESS_SECONDS


@pytest.mark.parametrize(
    ("job", "reason", "stalled"),
    [
        pytest.param(
            make_job(
                1, RECIPE, phase="Pending", pod=unschedulable("0/1 nodes."),
                image="registry/data:1",
            ),
            Reason.UNSCHEDULABLE, "False", id="a pod that waits for a node",
        ),
        pytest.param(
            failed_job(137, "OOMKilled", recipe=RECIPE), Reason.OUT_OF_MEMORY, "False",
            id="a pod that needs more memory is tried again",
        ),
        pytest.param(
            failed_job(
                message=refusal(Reason.SOURCE_EMPTY, Retry.NEVER).model_dump_json(), recipe=RECIPE
            ),
            Reason.SOURCE_EMPTY, "True", id="sources without text wait for the user",
        ),
    ],
)  # fmt: skip
def test_trouble_is_told_and_the_last_version_kept(
    job: JobView, reason: Reason, stalled: str
) -> None:
    kept = {key: GOOD[key] for key in ("version", "versions", "url")}
    planned = plan(job, status=kept)
    assert said(planned.status) == ("False", reason)
    assert by_type(planned.status)["Stalled"]["status"] == stalled
    assert (planned.status or {})["version"] == VERSION_1


def test_an_invalid_dataset_says_which_field() -> None:
    planned = plan(spec={"sequenceLength": 1})
    assert said(planned.status) == ("False", "SpecInvalid")
    assert by_type(planned.status)["Stalled"]["message"].startswith("spec.sequenceLength")


def test_nothing_is_planned_for_what_is_going() -> None:
    assert plan(deletionTimestamp="2026-01-01T00:00:00Z") == Plan()


DONE = succeeded_job(PREPARED, recipe=RECIPE)
HOUR: Manifest = {"refreshSeconds": 3600}


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_the_sources_are_looked_at_again_when_it_is_time() -> None:
    early = plan(DONE, status=GOOD, spec=HOUR, now=after(3599))
    assert (early.applies, early.requeue_seconds) == ((), 1)
    due = plan(DONE, status=GOOD, spec=HOUR, now=after(3600))
    assert due.applies[0]["metadata"]["name"] == "it-data-a2"
    assert due.deletes == (DONE.ref,)
    assert task_of(due)["recipe"] == task_of(plan())["recipe"]
    assert said(due.status) == ("True", "Prepared")
    assert by_type(due.status)["Reconciling"]["status"] == "True"


def test_without_an_interval_nobody_looks_by_himself() -> None:
    planned = plan(DONE, status=GOOD, now=after(10**8))
    assert (planned.applies, planned.requeue_seconds) == ((), None)


def test_when_the_last_look_is_forgotten_another_follows() -> None:
    assert plan(status=GOOD, spec=HOUR).applies[0]["metadata"]["name"] == "it-data-a2"


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(make_job(2, RECIPE, phase="Running"), id="while it is looked at again"),
        pytest.param(failed_job(137, "OOMKilled", "", 2, RECIPE), id="when that failed"),
    ],
)
def test_a_version_stays_ready(job: JobView) -> None:
    planned = plan(job, status={**GOOD, "attempt": 2}, spec=HOUR)
    assert said(planned.status)[0] == "True"
    assert by_type(planned.status)["Reconciling"]["status"] == "True"
    assert (planned.status or {})["version"] == VERSION_1


def test_a_failed_look_is_tried_again_with_patience() -> None:
    failed = failed_job(137, "OOMKilled", "", 2, RECIPE, retries=1)
    status = {**GOOD, "attempt": 2}
    assert plan(failed, status=status, spec=HOUR, now=after(19)).applies == ()
    again = plan(failed, status=status, spec=HOUR, now=after(20))
    assert again.applies[0]["metadata"]["annotations"]["llmcloud.dev/retries"] == "2"
