"""The local cluster itself: beside another, again, after a crash, and gone."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcluster import tools
from tests.localcluster.cluster import Cluster
from tests.localcluster.paths import LocalClusterError
from tests.localcluster.processes import ProcessFolder

MEGABYTE = 1_000_000


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(tmp_path)), check=True)
    yield tmp_path
    subprocess.run(("umount", str(tmp_path)), check=True)


def test_a_disk_is_too_small_only_for_what_is_not_built_yet(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "DISK_BYTES_NEEDED", 60 * MEGABYTE)
    monkeypatch.setenv("LLMCLOUD_CACHE", str(small_disk / "cache"))
    monkeypatch.setenv("LLMCLOUD_STATE", str(small_disk / "state"))
    for folder in ("cache", "others"):
        (small_disk / folder).mkdir()
    tools.require_free_disk(small_disk)
    (small_disk / "cache/image").write_bytes(bytes(20 * MEGABYTE))
    tools.require_free_disk(small_disk)
    (small_disk / "others/film").write_bytes(bytes(20 * MEGABYTE))
    with pytest.raises(LocalClusterError, match="set LLMCLOUD_CACHE"):
        tools.require_free_disk(small_disk)
