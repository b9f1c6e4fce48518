"""A cluster without nodes that knows llmcloud's kinds."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.localcluster.cluster import Cluster


@contextmanager
def api_server(name: str) -> Iterator[Cluster]:
    """A real etcd, kube-apiserver and controller-manager; the definitions are served."""
    cluster = Cluster(name)
    try:
        cluster.up(api_only=True)
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds")
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        yield cluster
    finally:
        cluster.down()
