"""Every rule: what the cluster shows, what the user is told, whose failure it is."""

import pytest

from llmcloud.api.contract import Outcome, Retry
from llmcloud.api.names import Reason
from llmcloud.plan.children import JobView, PodView, job_view, pod_view
from llmcloud.plan.failures import cause, obstacle, outcome_of, serving_failure
from llmcloud.plan.model import Manifest
from tests.support.worlds import (
    NOW,
    PREPARED,
    PROVISIONED,
    end_job,
    ended,
    failed_job,
    make_job,
    make_pod,
    raw_job,
    raw_pod,
    refusal,
    trained,
    unschedulable,
    waiting,
)

NO_CPU = "0/1 nodes are available: 1 Insufficient cpu."
DISRUPTION = {"type": "DisruptionTarget", "status": "True", "message": "node is drained"}


STOPPED = refusal(
    Reason.PREEMPTED, Retry.ENVIRONMENT, "It was asked to stop and saved a checkpoint"
).model_dump_json()


EMPTY = refusal(Reason.SOURCE_EMPTY, Retry.USER, "Nothing matches").model_dump_json()
DONE = PREPARED.model_dump_json()


def evicted(message: str, **status: object) -> JobView:
    pod: Manifest = {"reason": "Evicted", "message": message, **status}
    return make_job(ended_at=NOW, phase="Failed", pod=pod)


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        *(
            pytest.param(
                make_pod(phase="Pending", **waiting(word, "manifest unknown")),
                Reason.IMAGE_PULL_FAILED, ["manifest unknown", "pull secrets"],
                id=f"an image that cannot be pulled: {word}",
            )
            for word in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")
        ),
        pytest.param(
            make_pod(phase="Pending", **waiting("ErrImageNeverPull")),
            Reason.IMAGE_PULL_FAILED, ["ErrImageNeverPull"],
            id="a kubelet without words is quoted by its reason",
        ),
        pytest.param(
            make_pod(phase="Pending", **waiting("CreateContainerConfigError", "no secret keys")),
            Reason.CONTAINER_CONFIG, ["no secret keys"], id="a container that cannot be made",
        ),
        pytest.param(
            make_pod(phase="Pending", **unschedulable(NO_CPU)),
            Reason.UNSCHEDULABLE, [NO_CPU, "spec.resources"], id="a pod no node can take",
        ),
        pytest.param(
            pod_view(raw_pod(raw_job()), ("MountVolume.SetUp failed: secret keys not found",)),
            Reason.VOLUME_NOT_MOUNTED, ["secret keys not found"], id="a volume that is missing",
        ),
        pytest.param(
            pod_view(raw_pod(raw_job()), ("older", "failed to assign an IP address")),
            Reason.POD_NOT_STARTED, ["failed to assign an IP address"],
            id="any other warning, the newest",
        ),
    ],
)  # fmt: skip
def test_what_keeps_a_pod_from_starting(pod: PodView, reason: Reason, words: list[str]) -> None:
    problem = obstacle((pod,))
    assert problem is not None
    assert (problem.reason, problem.retry) == (reason, Retry.ENVIRONMENT)
    assert all(word in problem.message for word in [pod.name, *words])


def test_a_pod_that_the_cluster_refuses_is_told_in_the_clusters_words() -> None:
    problem = obstacle((), ("older", "exceeded quota: q, requested: cpu=4"))
    assert problem is not None
    assert problem.reason is Reason.POD_REFUSED
    assert "exceeded quota: q" in problem.message


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(make_pod(phase="Pending"), id="a pod just made"),
        pytest.param(
            make_pod(phase="Pending", **waiting("ContainerCreating")), id="a pod being made"
        ),
    ],
)
def test_nothing_is_known_to_keep(pod: PodView) -> None:
    assert obstacle((pod,), ("a warning of the job counts only without pods",)) is None


@pytest.mark.parametrize(
    ("job", "reason", "retry", "words"),
    [
        pytest.param(
            failed_job(message=refusal(
                Reason.BUCKET_NOT_FOUND, Retry.USER, "No bucket b: create it"
            ).model_dump_json()),
            Reason.BUCKET_NOT_FOUND, Retry.USER, "No bucket b: create it",
            id="the pod's own outcome comes first",
        ),
        pytest.param(
            failed_job(137, "OOMKilled"), Reason.OUT_OF_MEMORY, Retry.USER,
            "spec.resources.memory", id="killed for memory",
        ),
        pytest.param(
            evicted("Pod ephemeral local storage usage exceeds the total limit"),
            Reason.DISK_FULL, Retry.USER, "ephemeralStorage", id="evicted for its disk",
        ),
        pytest.param(
            evicted('Usage of EmptyDir volume "scratch" exceeds the limit "1Gi".'),
            Reason.DISK_FULL, Retry.USER, "scratch", id="evicted for a volume",
        ),
        pytest.param(
            evicted("Pod ephemeral local storage usage exceeds", conditions=[DISRUPTION]),
            Reason.DISK_FULL, Retry.USER, "usage exceeds",
            id="evicted for its disk, which is also a disruption",
        ),
        pytest.param(
            evicted("Pod ephemeral local storage usage exceeds", **ended(143, "Error", STOPPED)),
            Reason.DISK_FULL, Retry.USER, "usage exceeds",
            id="evicted for its disk, though all it knows is that it was asked to stop",
        ),
        pytest.param(
            failed_job(143, "Error", STOPPED), Reason.PREEMPTED, Retry.ENVIRONMENT, "saved",
            id="asked to stop, in its own words",
        ),
        pytest.param(
            evicted("The node was low on resource: memory."),
            Reason.PREEMPTED, Retry.ENVIRONMENT, "low on resource", id="evicted for the node",
        ),
        pytest.param(
            make_job(ended_at=NOW, phase="Failed", pod={**ended(137), "conditions": [DISRUPTION]}),
            Reason.PREEMPTED, Retry.ENVIRONMENT, "node is drained", id="drained",
        ),
        pytest.param(
            failed_job(143, "Error"), Reason.PREEMPTED, Retry.ENVIRONMENT, "asked to stop",
            id="asked to stop",
        ),
        pytest.param(
            failed_job(1, "Error", "Traceback ..."), Reason.CRASHED, Retry.USER, "kubectl logs",
            id="crashed",
        ),
        pytest.param(
            failed_job(1, "Error", "Traceback ...\n\x1b[1mOSError: no route\n\n"), Reason.CRASHED,
            Retry.USER, "(exit code 1, Error; its log ends with: [1mOSError: no route)",
            id="crashed before it could say why",
        ),
        pytest.param(
            failed_job(137, "Error"), Reason.CRASHED, Retry.USER, "exit code 137", id="killed",
        ),
        pytest.param(
            make_job(ended_at=NOW), Reason.PREEMPTED, Retry.ENVIRONMENT, "its pod is gone",
            id="gone without a trace",
        ),
        pytest.param(
            failed_job(1, message=PROVISIONED.model_dump_json()), Reason.CRASHED, Retry.USER,
            "exit code 1", id="a success that ended badly",
        ),
    ],
)  # fmt: skip
def test_why_a_job_ended_without_success(
    job: JobView, reason: Reason, retry: Retry, words: str
) -> None:
    problem = cause(job)
    assert (problem.reason, problem.retry) == (reason, retry)
    assert words in problem.message


def job_of(*statuses: Manifest) -> JobView:
    """A Job that failed, with a pod for each worker."""
    raw = raw_job()
    end_job(raw, NOW, succeeded=False)
    return job_view(raw, [make_pod(raw, "Failed", **status) for status in statuses])


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        pytest.param(
            [ended(143, "Error", STOPPED), ended(1, "Error", EMPTY), ended(0, "", DONE)],
            Reason.SOURCE_EMPTY, id="the one that failed of its own, not who was stopped for it",
        ),
        pytest.param(
            [ended(0, "", DONE), ended(143, "Error", STOPPED), ended(137, "OOMKilled")],
            Reason.OUT_OF_MEMORY, id="what the cluster saw, if no other says why",
        ),
        pytest.param(
            [ended(0, "", DONE), ended(143, "Error", STOPPED)], Reason.PREEMPTED,
            id="one that was stopped, whatever others did",
        ),
    ],
)  # fmt: skip
def test_of_several_workers_the_cause_is_told(statuses: list[Manifest], reason: Reason) -> None:
    assert cause(job_of(*statuses)).reason is reason
    assert cause(job_of(*reversed(statuses))).reason is reason


LOST_PEER = ended(1, message=refusal(Reason.PEER_LOST, Retry.ENVIRONMENT).model_dump_json())
STOPPED_POD = ended(143, message=refusal(Reason.PREEMPTED, Retry.ENVIRONMENT).model_dump_json())
NAN = ended(64, message=refusal(Reason.LOSS_NOT_FINITE, Retry.NEVER).model_dump_json())


@pytest.mark.parametrize(
    ("statuses", "reason", "retry"),
    [
        pytest.param([LOST_PEER, ended(137, "OOMKilled")], Reason.OUT_OF_MEMORY, Retry.USER,
                     id="a pod that was killed for its memory"),
        pytest.param([LOST_PEER, ended(139, "Error")], Reason.CRASHED, Retry.USER,
                     id="a pod that crashed without a word"),
        pytest.param([LOST_PEER, NAN], Reason.LOSS_NOT_FINITE, Retry.NEVER,
                     id="a pod that says what it failed of"),
        pytest.param([LOST_PEER, {"reason": "Evicted", "message": "memory"}], Reason.PREEMPTED,
                     Retry.ENVIRONMENT, id="a pod that was evicted"),
        pytest.param([LOST_PEER, {}], Reason.PEER_LOST, Retry.ENVIRONMENT,
                     id="a node of which nothing is heard"),
        pytest.param([STOPPED_POD, STOPPED_POD], Reason.PREEMPTED, Retry.ENVIRONMENT,
                     id="a group that was asked to stop"),
    ],
)  # fmt: skip
def test_why_a_group_failed(statuses: list[Manifest], reason: Reason, retry: Retry) -> None:
    members = [{"phase": "Failed", **status} for status in statuses]
    problem = cause(make_job(ended_at=NOW, nodes=2, pods=members))
    assert (problem.reason, problem.retry) == (reason, retry)


def test_of_a_group_that_succeeded_the_result_is_told() -> None:
    word = Outcome(succeeded=True, reason=Reason.SUCCEEDED)
    members = [
        {"phase": "Succeeded", **ended(0, message=outcome.model_dump_json(by_alias=True))}
        for outcome in (word, trained())
    ]
    outcome = outcome_of(make_job(ended_at=NOW, succeeded=True, nodes=2, pods=members))
    assert outcome is not None
    assert outcome.training is not None


def test_braces_in_the_clusters_words_are_only_words() -> None:
    problem = obstacle((make_pod(**unschedulable("had taint {key: value}")),))
    assert problem is not None
    assert "{key: value}" in problem.message


def test_a_replica_tells_what_its_fetcher_said() -> None:
    words = refusal(Reason.DIGEST_MISMATCH, Retry.NEVER, "m.bin differs").model_dump_json()
    init = {
        "initContainerStatuses": [{"state": {"terminated": {"exitCode": 64, "message": words}}}]
    }
    again = {
        "initContainerStatuses": [
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 64, "message": words}},
            }
        ]
    }
    for status in (init, again):
        problem = serving_failure((make_pod(**status),))
        assert problem is not None
        assert (problem.reason, problem.message) == (Reason.DIGEST_MISMATCH, "m.bin differs")


def test_a_healthy_replica_has_no_failure() -> None:
    assert serving_failure((make_pod(phase="Running"),)) is None
