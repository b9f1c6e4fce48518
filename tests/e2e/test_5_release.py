"""The release: refused beside itself, upgraded under way, uninstalled with objects left."""

from subprocess import CalledProcessError

import pytest

from llmcloud.api.names import Kind
from tests.localcluster.cluster import Cluster
from tests.support.install import NAMESPACE, helm, helm_install
from tests.support.kube import Kube, condition
from tests.support.paths import small_path
from tests.support.waiting import wait_for


def is_ready(kube: Kube, kind: Kind, namespace: str, name: str) -> bool:
    """Whether the object is Ready."""
    return condition(kube.get(kind, namespace, name)).get("status") == "True"


def test_a_second_release_over_the_whole_cluster_is_refused_with_the_remedy(
    cluster: Cluster,
) -> None:
    with pytest.raises(CalledProcessError) as refusal:
        helm(cluster, "install", "second", "charts/llmcloud", "-n", "second", "--create-namespace")
    assert "watchNamespace" in str(refusal.value.stderr)


def test_an_upgrade_leaves_running_work_alone(
    cluster: Cluster, kube: Kube, namespace: str, images: dict[str, str]
) -> None:
    for manifest in small_path(namespace, "upgraded-bucket")[:4]:
        kube.apply(manifest)
    wait_for(
        "training has started",
        lambda: kube.list("Job", namespace, "app.kubernetes.io/component=train"),
        bool,
        180,
    )
    helm_install(cluster, images, "--set", "operator.logLevel=DEBUG")
    wait_for("it ends", lambda: is_ready(kube, Kind.TRAINING_JOB, namespace, "train"), bool, 240)
    job = kube.get(Kind.TRAINING_JOB, namespace, "train")
    assert job is not None
    assert job["status"]["attempt"] == 1


def test_objects_outlive_an_uninstall_and_go_on_after_a_new_install(
    cluster: Cluster, kube: Kube, namespace: str, images: dict[str, str]
) -> None:
    samples, work, text, *_ = small_path(namespace, "outliving-bucket")
    for manifest in (samples, work):
        kube.apply(manifest)
    wait_for("the store", lambda: is_ready(kube, Kind.OBJECT_STORE, namespace, "work"), bool, 90)
    helm(cluster, "uninstall", "llmcloud", "-n", NAMESPACE, "--wait", "--timeout", "120s")
    assert is_ready(kube, Kind.OBJECT_STORE, namespace, "work")
    kube.apply(text)
    helm_install(cluster, images)
    wait_for("the dataset", lambda: is_ready(kube, Kind.DATASET, namespace, "text"), bool, 180)
