"""The gateways of a local cluster as this machine reaches them: Service, pods, processes."""

import os
import signal
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from llmcloud.api.contract import GATEWAY_REPORT_PORT
from tests.localcluster.cluster import Cluster
from tests.localcluster.layout import recorded_layout
from tests.localcluster.node import ctr
from tests.support.install import NAMESPACE
from tests.support.kube import Kube, Object, condition

LABELS = "app.kubernetes.io/name=llmcloud,app.kubernetes.io/component=gateway"


def gateway_url(kube: Kube) -> str:
    """The Service's URL: clients are spread over the gateways as in any cluster."""
    service = kube.get("Service", NAMESPACE, "llmcloud-gateway")
    assert service is not None
    return f"http://{service['spec']['clusterIP']}"


def ready_pods(kube: Kube, namespace: str, labels: str) -> list[Object]:
    """Pods that are Ready and stay."""
    return [
        pod
        for pod in kube.list("Pod", namespace, labels)
        if condition(pod).get("status") == "True" and "deletionTimestamp" not in pod["metadata"]
    ]


def in_flight(gateway: Object) -> int:
    """Requests on a replica that a gateway's metrics tell of, over all deployments."""
    url = f"http://{gateway['status']['podIP']}:{GATEWAY_REPORT_PORT}/metrics"
    with urlopen(url, timeout=10) as response:
        text = response.read().decode()
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "llmcloud_gateway_in_flight"
    )


def pid_of(cluster: Cluster, pod: Object) -> int:
    """The process of a pod's only container, as this machine counts."""
    layout = recorded_layout(cluster.name)
    assert layout is not None
    (status,) = pod["status"]["containerStatuses"]
    container = status["containerID"].removeprefix("containerd://")
    letter = pod["spec"]["nodeName"][-1]
    for line in ctr(layout, letter, "task", "list").splitlines():
        name, pid, *_ = line.split()
        if name == container:
            return int(pid)
    raise AssertionError(f"{container} has no process on node {letter}")


def kill(pid: int) -> None:
    """SIGKILL: the process ends at once and says nothing to anybody."""
    os.kill(pid, signal.SIGKILL)
