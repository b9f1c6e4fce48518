"""What an object waits for, where the test plays kubelet: stores and datasets that are Ready."""

from tests.support.conditions import wait_until
from tests.support.kube import Kube, Object
from tests.support.kubelet import end_pod, good_outcome
from tests.support.objects import dataset, store
from tests.support.waiting import wait_for


def ready(
    kube: Kube, kind: str, namespace: str, name: str, reason: str, seconds: float = 20
) -> Object:
    """Wait until the object's Ready condition has `reason`; the object."""
    return wait_until(kube, kind, namespace, name, "reason", reason, seconds)


def pod_of(kube: Kube, namespace: str, job: str) -> Object:
    """Wait for the one pod of a Job."""
    labels = f"batch.kubernetes.io/job-name={job}"
    (pod,) = wait_for(f"the pod of {job}", lambda: kube.list("Pod", namespace, labels), bool, 20)
    return pod


def provision(kube: Kube, namespace: str) -> None:
    """Make the store `work` Ready."""
    kube.apply(store(namespace))
    pod = pod_of(kube, namespace, "work-store-a1")
    end_pod(kube, pod, good_outcome(pod))
    ready(kube, "ObjectStore", namespace, "work", "Provisioned")


def prepare(kube: Kube, namespace: str) -> None:
    """Make the store `work` and the dataset `text` Ready."""
    provision(kube, namespace)
    kube.apply(dataset(namespace))
    pod = pod_of(kube, namespace, "text-data-a1")
    end_pod(kube, pod, good_outcome(pod))
    ready(kube, "LLMDataset", namespace, "text", "Prepared")
