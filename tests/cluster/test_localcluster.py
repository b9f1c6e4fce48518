"""The local cluster itself: beside another, again, after a crash, and gone."""

import signal

from tests.localcluster.cluster import Cluster
from tests.localcluster.processes import ProcessFolder


def test_a_cluster_survives_the_death_of_its_processes_and_leaves_none_behind(
    api_cluster: Cluster,
) -> None:
    other = Cluster("other")
    try:
        other.up(api_only=True)
        other.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        processes = ProcessFolder(other.folder)
        before = {process.pid for process in processes.all()}
        other.up(api_only=True)
        assert {process.pid for process in processes.all()} == before
        for process in processes.all():
            process.signal(signal.SIGKILL)
        other.up(api_only=True)
        assert "kept" in other.kubectl("get", "configmaps")
        assert all(component.ready for component in other.status())
    finally:
        left = ProcessFolder(other.folder).all()
        other.down()
    assert left
    assert not [process for process in left if process.alive]
    assert not other.folder.exists()
    assert all(component.ready for component in api_cluster.status())
