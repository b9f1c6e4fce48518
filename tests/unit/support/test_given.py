"""Which cluster KUBECONFIG names, and what make's targets do with one that is the user's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.localcluster.cluster import Cluster
from tests.localcluster.paths import REPOSITORY, LocalClusterError
from tests.localcluster.processes import ProcessFolder
from tests.support.given import require_registry, users_files


def test_kubeconfig_names_files_in_their_order() -> None:
    assert users_files({"KUBECONFIG": "/a:/b"}) == [Path("/a"), Path("/b")]
    assert users_files({"KUBECONFIG": ":~/c:"}) == [Path.home() / "c"]


@pytest.mark.parametrize("rest", ["", ":/home/someone/.kube/config"])
def test_the_local_clusters_own_file_is_the_local_cluster_up_or_down(rest: str) -> None:
    own = Cluster().kubeconfig
    assert users_files({"KUBECONFIG": f"{own}{rest}"}) == []
    assert users_files({"KUBECONFIG": f"{own.parent}/./x/../kubeconfig{rest}"}) == []
    assert users_files({"KUBECONFIG": ""}) == users_files({}) == []


def test_another_local_cluster_is_a_given_one() -> None:
    theirs = Cluster("theirs").kubeconfig
    assert users_files({"KUBECONFIG": str(theirs)}) == [theirs]


def test_a_users_cluster_needs_a_registry_that_it_reaches() -> None:
    require_registry({"REGISTRY": "registry.example.com"})
    with pytest.raises(LocalClusterError, match="REGISTRY="):
        require_registry({})


def target(name: str, state: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the program behind a target of make says."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.given", name],
        cwd=REPOSITORY,
        env={**os.environ, "LLMCLOUD_STATE": str(state), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_targets_leave_a_users_cluster_alone(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.touch()
    named = {"KUBECONFIG": str(file), "REGISTRY": "registry.example.com"}
    assert target("kubeconfig", tmp_path, **named).stdout == f"{file}\n"
    assert target("up", tmp_path, **named).stdout == f"using the cluster of {file}\n"
    absent = target("up", tmp_path, KUBECONFIG=str(tmp_path / "absent"))
    assert (absent.returncode, "is not there" in absent.stderr) == (1, True)


@pytest.mark.parametrize("theirs", [True, False])
def test_down_stops_what_demo_forwards_to_a_users_cluster(theirs: bool, tmp_path: Path) -> None:
    forwards = ProcessFolder(tmp_path / "user" / "0123456789abcdef")
    process = forwards.start("gateway-8080", ["sleep", "600"])
    named = {"KUBECONFIG": str(tmp_path / "config")} if theirs else {"KUBECONFIG": ""}
    done = target("down", tmp_path, **named)
    assert done.returncode == 0, done.stderr
    assert not process.alive
    assert not (tmp_path / "user").exists()
    assert ("is yours and goes on" in done.stdout) == theirs
