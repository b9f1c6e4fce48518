"""The cluster that make's targets mean: the one that KUBECONFIG names, else the local one.

`python3 -m tests.support.given up|down|status|kubeconfig` needs no .venv. A user's cluster is used
and never started or stopped; the local cluster's own file in KUBECONFIG means the local cluster.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.localcluster import __main__ as local
from tests.localcluster.cluster import Cluster
from tests.localcluster.kubectl import kubectl
from tests.localcluster.paths import LocalClusterError, exit_status, state_folder
from tests.localcluster.processes import ProcessFolder
from tests.localcluster.tools import ensure_tool

NAMESPACE = "llmcloud-system"


@dataclass(frozen=True)
class UserCluster:
    """A cluster that was there before, as KUBECONFIG's context names it."""

    folder: Path
    """Where its kubeconfig, the values and the logs of this installation are."""

    @property
    def kubeconfig(self) -> Path:
        """One context with all that it refers to, however the user's files change."""
        return self.folder / "kubeconfig"

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """The output of kubectl, `text` its input. Raises CalledProcessError."""
        return kubectl(self.folder, *words, text=text)


AnyCluster = Cluster | UserCluster


def users_files(environment: Mapping[str, str]) -> list[Path]:
    """The files of a user's cluster in KUBECONFIG; none if the local cluster is meant."""
    words = environment.get("KUBECONFIG", "").split(os.pathsep)
    files = [Path(word).expanduser().absolute() for word in words if word]
    local_file = Cluster().kubeconfig
    return [] if files and files[0].resolve() == local_file.resolve() else files


def users_folder() -> Path:
    """One folder below it for every cluster of the user."""
    return state_folder() / "user"


def take(files: Sequence[Path], folder: Path) -> UserCluster:
    """The cluster of the current context of `files`, read as kubectl does; kept below `folder`.

    Raises LocalClusterError if kubectl cannot tell which cluster that is.
    """
    require_files(files)
    config = view(files, "--minify", "--flatten")
    for user in config.get("users") or []:
        resolve(user["user"], folder_of(user["name"], files))
    (cluster,) = config["clusters"]
    digest = hashlib.sha256(json.dumps(cluster["cluster"], sort_keys=True).encode()).hexdigest()
    taken = UserCluster(folder / digest[:16])
    taken.folder.mkdir(parents=True, exist_ok=True)
    taken.kubeconfig.touch(mode=0o600)
    taken.kubeconfig.write_text(json.dumps(config))
    return taken


def view(files: Sequence[Path], *options: str) -> dict[str, Any]:
    """What kubectl reads in the files. Raises LocalClusterError with its reason."""
    command = [str(ensure_tool("kubectl")), "config", "view", "--raw", "-o", "json", *options]
    environment = {**os.environ, "KUBECONFIG": joined(files)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalClusterError(f"KUBECONFIG={joined(files)}: {done.stderr.strip()}")
    config: dict[str, Any] = json.loads(done.stdout)
    return config


def folder_of(user: str, files: Sequence[Path]) -> Path:
    """The folder of the first file that has the user."""
    return next(
        file.parent
        for file in files
        if file.is_file() and user in {u["name"] for u in view([file])["users"] or []}
    )


def resolve(user: dict[str, Any], folder: Path) -> None:
    """Make paths absolute that kubectl reads from the file's folder and --flatten leaves."""
    if "tokenFile" in user:
        user["tokenFile"] = str(folder / user["tokenFile"])
    if "/" in user.get("exec", {}).get("command", ""):
        user["exec"]["command"] = str(folder / user["exec"]["command"])


def require_files(files: Sequence[Path]) -> None:
    """Raise LocalClusterError unless one of them is there."""
    if not any(file.is_file() for file in files):
        raise LocalClusterError(
            f"KUBECONFIG={joined(files)} is not there: name a file of your cluster's, or unset "
            "KUBECONFIG for the local cluster"
        )


def require_registry(environment: Mapping[str, str]) -> None:
    """Raise LocalClusterError unless a registry is named that a user's cluster may reach."""
    if not environment.get("REGISTRY"):
        raise LocalClusterError(
            "KUBECONFIG names a cluster of yours, which cannot pull from this machine: set "
            "REGISTRY=host:port, a registry that its nodes reach"
        )


def joined(files: Sequence[Path]) -> str:
    """The files as KUBECONFIG has them."""
    return os.pathsep.join(map(str, files))


def ensure_cluster() -> AnyCluster:
    """The cluster that KUBECONFIG names; without it the local one, up. Raises LocalClusterError."""
    files = users_files(os.environ)
    if files:
        require_registry(os.environ)
        return take(files, users_folder())
    cluster = Cluster()
    cluster.up()
    return cluster


def stop_forwards() -> None:
    """Stop the ports that `make demo` forwards to clusters of the user; forget their files."""
    for folder in users_folder().glob("*"):
        ProcessFolder(folder).stop()
    shutil.rmtree(users_folder(), ignore_errors=True)


def run(command: str, options: Sequence[str]) -> int:
    """Carry out one target; its exit status. Raises LocalClusterError or CalledProcessError."""
    files = users_files(os.environ)
    if command == "down":
        stop_forwards()
    if not files:
        return local.main([command, *options])
    if command == "up":
        require_files(files)
        require_registry(os.environ)
        print(f"using the cluster of {joined(files)}")
    elif command == "down":
        print(
            f"the cluster of {joined(files)} is yours and goes on; no port of this machine is "
            "forwarded to it any more. Without KUBECONFIG, this stops the local cluster"
        )
    elif command == "status":
        cluster = take(files, users_folder())
        print(cluster.kubectl("get", "nodes"))
        print(cluster.kubectl("--namespace", NAMESPACE, "get", "pods"), end="")
    else:
        print(joined(files))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(lambda: run(sys.argv[1], sys.argv[2:])))
