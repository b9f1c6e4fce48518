"""Jobs with a `queue` and the real Kueue: admitted as a whole, told why they wait, sent back.

With --soak only: Kueue's manager is a Go build of many minutes. The cluster is one of its own,
since Kueue's webhooks would refuse the Jobs of other tests once it has stopped.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from llmcloud.api.names import LABEL_QUEUED_UID
from tests.localcluster.cluster import Cluster
from tests.support.api_server import api_server
from tests.support.audit import OPERATOR_AGENT, requests
from tests.support.kube import Kube, Object, condition
from tests.support.kubelet import bind_pod, end_pod, run_pod
from tests.support.kueue import running_kueue
from tests.support.objects import changed, training_job
from tests.support.operator import OperatorProcess
from tests.support.played import prepare, ready
from tests.support.waiting import wait_for
from tests.support.worlds import trained

TWO = {"min": 2, "max": 2}
SECONDS = 60.0


@pytest.fixture(scope="module")
def api_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with (
        api_server("kueue") as cluster,
        running_kueue(cluster, tmp_path_factory.mktemp("kueue")),
    ):
        yield cluster


@pytest.fixture(scope="module")
def kube(api_cluster: Cluster) -> Kube:
    return Kube(api_cluster.kubeconfig)


@pytest.fixture(scope="module")
def operator(
    api_cluster: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    kube.namespace("llmcloud-system")
    process = OperatorProcess(api_cluster.kubeconfig, tmp_path_factory.mktemp("operator")).start()
    process.await_lead(30)
    yield process
    process.stop()


@pytest.fixture
def queue(kube: Kube, operator: OperatorProcess, namespace: str) -> str:
    """A LocalQueue of the namespace, with room for three pods of one core: one job of two nodes
    and half of another. Store and dataset are Ready."""
    version = "kueue.x-k8s.io/v1beta2"
    flavor = {"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "default"}}
    quotas = {"cpu": "3", "memory": "1Ti", "ephemeral-storage": "1Ti"}
    resources = [{"name": name, "nominalQuota": quota} for name, quota in quotas.items()]
    group = {
        "coveredResources": [*quotas],
        "flavors": [{"name": "default", "resources": resources}],
    }
    cluster_queue = {
        "apiVersion": version,
        "kind": "ClusterQueue",
        "metadata": {"name": namespace},
        "spec": {"namespaceSelector": {}, "resourceGroups": [group]},
    }
    local_queue = {
        "apiVersion": version,
        "kind": "LocalQueue",
        "metadata": {"name": "gpu", "namespace": namespace},
        "spec": {"clusterQueue": namespace},
    }
    for manifest in (flavor, cluster_queue, local_queue):
        kube.apply(manifest)
    prepare(kube, namespace)
    return "gpu"


def job(namespace: str, name: str, **spec: Any) -> Object:
    """A training on two nodes for the queue."""
    return training_job(namespace, name=name, **{"queue": "gpu", "nodes": TWO, **spec})


def pods_of(kube: Kube, namespace: str, name: str, attempt: int = 1) -> list[Object]:
    labels = f"batch.kubernetes.io/job-name={name}-train-a{attempt}"
    return kube.list("Pod", namespace, labels)


def started(kube: Kube, namespace: str, name: str, attempt: int = 1) -> list[Object]:
    """Wait until both pods of an attempt are there; the pods."""
    return wait_for(
        f"the pods of attempt {attempt} of {name}",
        lambda: pods_of(kube, namespace, name, attempt),
        lambda pods: len(pods) == 2,
        SECONDS,
    )


def held(kube: Kube, namespace: str, name: str, words: str) -> str:
    """Wait until the job is Queued and says `words`; its whole message."""

    def message() -> str:
        ready = condition(kube.get("LLMTrainingJob", namespace, name))
        return str(ready["message"]) if ready.get("reason") == "Queued" else ""

    return wait_for(f"{name} says {words}", message, lambda said: words in said, SECONDS)


def kubernetes_job(kube: Kube, namespace: str, name: str, attempt: int = 1) -> Object:
    found = kube.get("Job", namespace, f"{name}-train-a{attempt}")
    assert found is not None
    return found


def workload_of(kube: Kube, namespace: str, of: Object) -> Object:
    """Kueue's object for a Job."""
    (found,) = kube.list("Workload", namespace, f"{LABEL_QUEUED_UID}={of['metadata']['uid']}")
    return found


def remove(kube: Kube, pod: Object) -> None:
    """Say that the pod has ended after it was asked to stop."""
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
    kube.call("DELETE", path, {"gracePeriodSeconds": 0})


def owners(of: Object, *path: str) -> list[str]:
    """The field managers that own a field."""
    found = []
    for entry in of["metadata"]["managedFields"]:
        node = entry.get("fieldsV1", {})
        for member in path:
            node = node.get(f"f:{member}") if node is not None else None
        if node is not None:
            found.append(entry["manager"])
    return found


def test_two_jobs_are_admitted_one_after_the_other_each_as_a_whole(
    api_cluster: Cluster, kube: Kube, namespace: str, queue: str
) -> None:
    kube.apply(job(namespace, "first"))
    pods = started(kube, namespace, "first")
    first = kubernetes_job(kube, namespace, "first")
    assert (first["spec"]["suspend"], first["spec"]["parallelism"]) == (False, 2)
    workload = workload_of(kube, namespace, first)
    assert [each["count"] for each in workload["spec"]["podSets"]] == [2]
    (admitted,) = workload["status"]["admission"]["podSetAssignments"]
    assert (admitted["count"], admitted["resourceUsage"]["cpu"]) == (2, "2")

    kube.apply(job(namespace, "second"))
    message = held(kube, namespace, "second", "insufficient unused quota for cpu")
    assert message.startswith("Attempt 1 waits in queue gpu: ")
    waiting = kube.get("LLMTrainingJob", namespace, "second")
    assert waiting is not None
    assert waiting["status"]["phase"] == "Queued"
    assert condition(waiting, "Reconciling")["status"] == "True"
    assert kubernetes_job(kube, namespace, "second")["spec"]["suspend"] is True
    assert pods_of(kube, namespace, "second") == [], "room for one of two pods starts none"

    for pod in pods:
        end_pod(kube, pod, trained())
    ready(kube, "LLMTrainingJob", namespace, "first", "Succeeded", SECONDS)
    started(kube, namespace, "second")
    ready(kube, "LLMTrainingJob", namespace, "second", "Starting", SECONDS)
    second = kubernetes_job(kube, namespace, "second")
    assert owners(second, "spec", "parallelism") == ["llmcloud"]
    assert owners(second, "spec", "suspend") == ["kueue"]
    writes = [
        (r.verb, r.code)
        for r in requests(api_cluster.audit_log)
        if r.agent == OPERATOR_AGENT
        and (r.resource, r.namespace, r.name) == ("jobs", namespace, "second-train-a1")
        and r.is_write
    ]
    assert writes == [("patch", 201)], "the operator made the Job and wrote it never again"


def test_a_job_larger_than_the_quota_is_told_and_has_no_pod(
    kube: Kube, namespace: str, queue: str
) -> None:
    kube.apply(job(namespace, "large", nodes={"min": 4, "max": 4}))
    message = held(kube, namespace, "large", "maximum capacity")
    assert "cpu" in message
    assert pods_of(kube, namespace, "large") == []


def test_a_queue_that_does_not_exist_is_named(kube: Kube, namespace: str, queue: str) -> None:
    kube.apply(job(namespace, "lost", queue="nowhere"))
    held(kube, namespace, "lost", "LocalQueue nowhere doesn't exist")
    assert pods_of(kube, namespace, "lost") == []


def test_a_suspended_job_leaves_its_room_and_queues_again_when_it_resumes(
    kube: Kube, namespace: str, queue: str
) -> None:
    first = job(namespace, "first")
    kube.apply(first)
    started(kube, namespace, "first")
    kube.apply(job(namespace, "second"))
    held(kube, namespace, "second", "insufficient unused quota")
    kube.apply(changed(first, "suspend", True))
    ready(kube, "LLMTrainingJob", namespace, "first", "Suspended", SECONDS)
    pods = started(kube, namespace, "second")
    kube.apply(changed(first, "suspend", False))
    message = held(kube, namespace, "first", "insufficient unused quota")
    assert message.startswith("Attempt 2 waits in queue gpu: ")
    for pod in pods:
        end_pod(kube, pod, trained())
    started(kube, namespace, "first", attempt=2)


def test_an_attempt_that_is_evicted_after_it_began_is_followed_by_one_that_queues(
    kube: Kube, namespace: str, queue: str
) -> None:
    kube.apply(job(namespace, "train"))
    pods = started(kube, namespace, "train")
    for pod in pods:
        bind_pod(kube, pod)
        run_pod(kube, pod, 1)
    kube.patch("ClusterQueue", "", namespace, {"spec": {"stopPolicy": "HoldAndDrain"}})
    wait_for(
        "its Job goes",
        lambda: kube.get("Job", namespace, "train-train-a1"),
        lambda found: found is None,
        SECONDS,
    )
    assert kube.get("Job", namespace, "train-train-a2") is None, "its pods save a checkpoint"
    for pod in pods:
        remove(kube, pod)
    inactive = f"Attempt 2 waits in queue gpu: ClusterQueue {namespace} is inactive"
    held(kube, namespace, "train", inactive)
    assert pods_of(kube, namespace, "train", 2) == []
    kube.patch("ClusterQueue", "", namespace, {"spec": {"stopPolicy": "None"}})
    started(kube, namespace, "train", attempt=2)
