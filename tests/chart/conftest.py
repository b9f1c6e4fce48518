"""A real API server for what only a cluster can tell: who installed what before."""

from collections.abc import Iterator

import pytest

from tests.chart.releases import Releases
from tests.localcluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """An API server with its controllers and no nodes."""
    cluster = Cluster("chart")
    try:
        cluster.up(api_only=True)
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def releases(cluster: Cluster) -> Iterator[Releases]:
    releases = Releases(cluster)
    existing = {n["metadata"]["name"] for n in releases.get("namespaces")["items"]}
    for name in {"team-a", "team-b"} - existing:
        releases.kubectl("create", "namespace", name)
    yield releases
    releases.clean()
