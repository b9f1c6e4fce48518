"""Jobs and pods as the API server gives them, and when only events can tell."""

from typing import Any

import pytest

from llmcloud.api.names import Kind
from llmcloud.api.objectstore import ObjectStoreSpec
from llmcloud.plan.attempts import decide_attempt
from llmcloud.plan.children import JobView, job_view, pod_view
from llmcloud.plan.model import Manifest, from_timestamp, owner_from, parse, timestamp
from llmcloud.plan.waiting import (
    look_again_seconds,
    needs_events,
    standing_warnings,
    to_explain,
)
from tests.support.worlds import (
    NOW,
    at,
    end_job,
    failed_job,
    make_job,
    make_pod,
    raw_job,
    raw_owner,
    raw_pod,
    unschedulable,
    waiting,
)

MODEL_IS_FETCHED: Manifest = {
    **waiting("PodInitializing"),
    "initContainerStatuses": [{"name": "fetch", "state": {"running": {}}}],
}


def test_a_job_has_its_own_pods_only() -> None:
    raw, other = raw_job(1), raw_job(2)
    pods = [pod_view(raw_pod(raw)), pod_view(raw_pod(other))]
    assert [pod.name for pod in job_view(raw, pods).pods] == ["it-a1-0-x"]


def test_a_job_of_somebody_elses_making_is_read_too() -> None:
    raw = raw_job()
    del raw["metadata"]["labels"], raw["metadata"]["annotations"]
    view = job_view(raw, [])
    assert (view.attempt, view.recipe, view.retries, view.inputs) == (0, "", 0, {})


def test_a_job_that_ended_has_a_time() -> None:
    raw = raw_job()
    end_job(raw, at(30), succeeded=False, message="deadline")
    view = job_view(raw, [])
    assert (view.active, view.finished, view.failure_message) == (False, at(30), "deadline")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param({}, None, id="nothing ended"),
        pytest.param(
            {"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}, 0,
            id="the main container",
        ),
        pytest.param(
            {
                "initContainerStatuses": [{"state": {"terminated": {"exitCode": 0}}}],
                "containerStatuses": [{"state": {"running": {}}}],
            },
            None, id="an init container that did its work does not count",
        ),
        pytest.param(
            {"initContainerStatuses": [{"state": {"terminated": {"exitCode": 64}}}]}, 64,
            id="an init container that failed does",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    {
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 3}},
                    }
                ]
            },
            3, id="the last time, of one that is started anew",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    {"state": {"terminated": {"exitCode": 0}}},
                    {"state": {"terminated": {"exitCode": 2}}},
                ]
            },
            2, id="of several the one that failed",
        ),
    ],
)  # fmt: skip
def test_how_a_pod_ended(status: dict[str, Any], code: int | None) -> None:
    end = pod_view(raw_pod(raw_job(), "Running", **status)).termination
    assert (end.exit_code if end else None) == code


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        pytest.param(make_job(), 8.0, id="no pod: only events can tell why"),
        pytest.param(make_job(tried=None), None, id="no pod was tried yet: there are no events"),
        pytest.param(
            make_job(phase="Pending", pod=waiting("ContainerCreating")), 8.0,
            id="a container that is not made: perhaps a volume",
        ),
        pytest.param(
            make_job(phase="Pending", pod=waiting("ContainerCreating", since=at(3590))), 5.0,
            id="it got its node just now: what keeps it will show soon",
        ),
        pytest.param(
            make_job(phase="Pending"), None, id="the scheduler has not looked at it yet",
        ),
        pytest.param(
            make_job(phase="Pending", pod=waiting("ErrImagePull")), None,
            id="the pod itself tells",
        ),
        pytest.param(
            make_job(phase="Pending", pod=unschedulable("0/1 nodes.")), None,
            id="the scheduler tells",
        ),
        pytest.param(
            make_job(phase="Pending", pod=MODEL_IS_FETCHED), None,
            id="a container of it has begun: its volumes are there",
        ),
        pytest.param(make_job(phase="Running"), None, id="it runs"),
        pytest.param(failed_job(), None, id="it ended"),
    ],
)  # fmt: skip
def test_when_events_are_looked_for(job: JobView, seconds: float | None) -> None:
    attempt = decide_attempt((job,), "r", at(3600), recorded=1)
    assert needs_events(job) is (seconds is not None)
    if job.active:
        assert look_again_seconds(attempt, at(3600)) == seconds


def test_events_are_looked_for_at_growing_intervals() -> None:
    attempt = decide_attempt((make_job(),), "r", NOW, recorded=1)
    looks = [look_again_seconds(attempt, at(seconds)) for seconds in (0, 10, 50, 1000)]
    assert looks == [2.0, 5.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("crowd", "looks"),
    [(1, [2.0, 8.0]), (16, [2.0, 8.0]), (64, [8.0, 8.0]), (160, [20.0, 20.0]), (900, [30.0, 30.0])],
)
def test_the_more_objects_wait_the_rarer_each_is_looked_at(crowd: int, looks: list[float]) -> None:
    attempt = decide_attempt((make_job(),), "r", NOW, recorded=1)
    assert [look_again_seconds(attempt, at(age), crowd) for age in (0, 1000)] == looks


def event(message: str, told: str, type_: str = "Warning") -> Manifest:
    return {"message": message, "type": type_, "lastTimestamp": told, "metadata": {}}


def test_warnings_stand_until_something_else_is_told() -> None:
    unplaced = {
        "message": "0/1 nodes", "type": "Warning", "lastTimestamp": None,
        "eventTime": "2026-05-01T12:00:00.500000Z",
        "series": {"lastObservedTime": "2026-05-01T12:00:02.500000Z"}, "metadata": {},
    }  # fmt: skip
    placed = {
        "message": "Assigned", "type": "Normal", "eventTime": "2026-05-01T12:00:04.900000Z",
        "metadata": {},
    }  # fmt: skip
    mount = event("MountVolume", "2026-05-01T12:00:04Z")
    network = event("no address", "2026-05-01T12:00:09Z")
    pulling = event("Pulling", "2026-05-01T12:00:10Z", "Normal")
    assert standing_warnings([]) == ()
    assert standing_warnings([unplaced]) == ("0/1 nodes",)
    assert standing_warnings([network, mount, placed, unplaced]) == ("MountVolume", "no address")
    assert standing_warnings([network, mount, pulling, placed, unplaced]) == ()


def test_of_many_pods_alike_a_few_are_explained() -> None:
    stuck = [make_pod(index=index, **waiting("ContainerCreating")) for index in range(20)]
    other = make_pod(raw_job(2), **waiting("ContainerCreating"))
    runs = make_pod(raw_job(3), "Running")
    asked = to_explain([runs, *stuck, other])
    assert asked == [*stuck[:8], other]


def test_times_are_read_as_they_are_written() -> None:
    assert timestamp(NOW) == "2026-05-01T12:00:00Z"
    assert from_timestamp(timestamp(NOW)) == NOW


def test_a_wrong_field_is_named_as_the_user_wrote_it() -> None:
    sentence = parse(
        ObjectStoreSpec, {"provider": "aws", "bucket": "ok-bucket", "reclaimPolicy": 3}
    )
    assert isinstance(sentence, str)
    assert sentence.startswith("spec.reclaimPolicy: ")


def test_an_owner_that_is_going() -> None:
    raw = raw_owner(Kind.DATASET)
    raw["metadata"] |= {"deletionTimestamp": timestamp(NOW), "finalizers": ["a"]}
    owner = owner_from(raw)
    assert (owner.deleting, owner.finalizers) == (True, ("a",))
    assert owner.reference["uid"] == "uid-llmdataset-it"
