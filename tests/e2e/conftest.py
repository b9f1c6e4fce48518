"""One real cluster with the chart installed, shared by all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.localcluster.cluster import Cluster
from tests.support.install import copy_keys, ensure_images, expose_gateway, helm_install
from tests.support.kube import Kube
from tests.support.operator import free_port


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    return ensure_images()


@pytest.fixture(scope="session")
def cluster(images: dict[str, str]) -> Iterator[Cluster]:
    cluster = Cluster("e2e")
    try:
        cluster.up()
        helm_install(cluster, images)
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def kube(cluster: Cluster) -> Kube:
    return Kube(cluster.kubeconfig)


@pytest.fixture(scope="session")
def gateway(cluster: Cluster) -> str:
    """The gateway's URL on loopback."""
    return expose_gateway(cluster, free_port())


@pytest.fixture
def namespace(kube: Kube, cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, with the embedded store's keys; it goes with the test."""
    name = "t-" + request.node.name.lower().replace("_", "-")[:50].strip("-[]")
    kube.namespace(name)
    copy_keys(cluster, name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
