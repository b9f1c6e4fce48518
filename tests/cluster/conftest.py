"""A real etcd, kube-apiserver and controller-manager, shared by all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.localcluster.cluster import Cluster
from tests.support.api_server import api_server
from tests.support.kube import Kube
from tests.support.operator import OperatorProcess

SOAK_ONLY = "test_kueue.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What builds for many minutes is for --soak only."""
    return True if collection_path.name == SOAK_ONLY and not config.getoption("--soak") else None


@pytest.fixture(scope="session")
def api_cluster() -> Iterator[Cluster]:
    with api_server("api") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kube(api_cluster: Cluster) -> Kube:
    return Kube(api_cluster.kubeconfig)


@pytest.fixture
def namespace(kube: Kube, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, after its name; it stays until the cluster goes."""
    name = "t-" + request.node.name.lower().replace("_", "-")[:50].strip("-[]")
    return kube.namespace(name)


@pytest.fixture(scope="session")
def operator(
    api_cluster: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    kube.namespace("llmcloud-system")
    folder: Path = tmp_path_factory.mktemp("operator")
    values = yaml.safe_load(Path("charts/llmcloud/values.yaml").read_text())
    catalogue = {name: values[name] for name in ("platforms", "accelerators")}
    process = OperatorProcess(api_cluster.kubeconfig, folder, overrides=catalogue).start()
    process.await_lead(30)
    yield process
    process.stop()
