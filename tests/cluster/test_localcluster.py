"""The local cluster itself: beside another, again, after a crash, and gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcluster.cluster import Cluster
from tests.localcluster.paths import REPOSITORY
from tests.localcluster.processes import ProcessFolder

MEGABYTE = 1_000_000


# A server that is killed in a handshake leaves its client's socket to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
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
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 25.2 GB free."""
    mount = ("mount", "-t", "tmpfs", "-o", "size=25200000000", "tmpfs", str(tmp_path))
    subprocess.run(mount, check=True)
    yield tmp_path
    subprocess.run(("umount", str(tmp_path)), check=True)


def refusal(disk: Path) -> str:
    """Why builds with cache and state on `disk` are refused; empty if they are not."""
    for folder in ("cache", "state"):
        (disk / folder).mkdir(exist_ok=True)
    program = (
        "import sys; from tests.localcluster import tools; tools.require_free_disk(sys.argv[1])"
    )
    places = {"LLMCLOUD_CACHE": str(disk / "cache"), "LLMCLOUD_STATE": str(disk / "state")}
    return subprocess.run(
        (sys.executable, "-c", program, str(disk)),
        env=os.environ | places,
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    ).stderr


def test_a_disk_is_too_small_only_for_what_is_not_built_yet(disk: Path) -> None:
    assert refusal(disk) == ""
    (disk / "film").write_bytes(bytes(150 * MEGABYTE))
    (disk / "cache/image").write_bytes(bytes(100 * MEGABYTE))
    assert refusal(disk) == ""
    (disk / "cache/image").unlink()
    (disk / "film").write_bytes(bytes(250 * MEGABYTE))
    assert "LLMCLOUD_CACHE" in refusal(disk)
