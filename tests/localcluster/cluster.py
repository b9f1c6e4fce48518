"""The cluster as a whole: up, down, status."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.localcluster import health, node
from tests.localcluster.kubectl import kubectl
from tests.localcluster.layout import Layout, check_name, claim_layout, recorded_layout
from tests.localcluster.leftovers import clear_leftovers
from tests.localcluster.packages import ensure_programs
from tests.localcluster.paths import LocalClusterError, locked, say, state_folder
from tests.localcluster.pki import Keys
from tests.localcluster.processes import ProcessFolder
from tests.localcluster.registry import ensure_registry, stop_registry
from tests.localcluster.startup import READY_SECONDS, Startup
from tests.localcluster.tools import TOOLS, ensure_tool, module_version, require_free_disk

API_TOOLS = ("etcd", "kube-apiserver", "kubectl", "kube-controller-manager")
NODE_TOOLS = ("registry", "kube-scheduler", "kubelet", "kube-proxy", "coredns", "pause")


@dataclass(frozen=True)
class Component:
    """A row of `status`; `pid` is None for a pod, and for a program that is not there."""

    name: str
    pid: int | None
    ready: bool
    version: str


class Cluster:
    """A local Kubernetes called `name`; nothing happens before up()."""

    def __init__(self, name: str = "llmcloud") -> None:
        check_name(name)
        self.name = name
        self.folder = state_folder() / name
        self.processes = ProcessFolder(self.folder)
        self.lock = state_folder() / "locks" / name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: JSON lines at level Metadata; rotated at 100 MB."""
        return self.folder / "audit.log"

    @property
    def registry(self) -> str:
        """The address of the loopback registry, which is started if it is not running."""
        return ensure_registry()

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """The output of kubectl as the administrator, `text` its input.

        Raises subprocess.CalledProcessError, with kubectl's own explanation in its `stderr`.
        """
        return kubectl(self.folder, *words, text=text)

    def up(self, nodes: int | None = None, api_only: bool = False) -> None:
        """Start the cluster and wait until it is ready; after a crash, clear up first.

        Without `nodes` it has as many as before, and one if it is new. Returns at once if it is
        up. Raises LocalClusterError when the machine cannot run it, a program dies, or the cluster
        is up with another number of nodes.
        """
        require_machine(root=not api_only)
        started = time.monotonic()
        with locked(self.lock):
            recorded = recorded_layout(self.name)
            before = recorded.nodes if recorded is not None else 0
            wanted = 0 if api_only else nodes or before or 1
            if recorded is not None and self.alive(recorded):
                require_same_shape(recorded, wanted)
                self.wait_until_ready()
                say(f"cluster {self.name} is up already")
                return
            require_free_disk(self.lock.parent)
            ensure_programs(node.PROGRAMS if wanted else {"openssl": "openssl"})
            for tool in (*API_TOOLS, *(NODE_TOOLS if wanted else ())):
                ensure_tool(tool)
            layout = claim_layout(self.name, wanted)
            self.clear(layout)
            Startup(layout).run()
        seconds = time.monotonic() - started
        say(f"cluster {self.name} is up after {seconds:.1f} s")

    def down(self, keep_data: bool = False) -> None:
        """Stop the cluster and remove all it left; `keep_data` keeps etcd's data and the images.

        The last cluster to go stops the registry.
        """
        with locked(self.lock):
            layout = recorded_layout(self.name)
            if layout is not None:
                self.clear(layout)
                if not keep_data:
                    shutil.rmtree(layout.folder)
                    layout.claim.unlink(missing_ok=True)
        stop_unused_registry()

    def alive(self, layout: Layout) -> bool:
        """Whether every program of the cluster lives, ready or not."""
        return all(c.pid is not None for c in self.components(layout) if c.name != "coredns")

    def wait_until_ready(self) -> None:
        """Wait until every component is ready. Raises LocalClusterError after 120 s."""
        deadline = time.monotonic() + READY_SECONDS
        while waiting := [c.name for c in self.status() if not c.ready]:
            if time.monotonic() > deadline:
                raise LocalClusterError(
                    f"not ready after {READY_SECONDS} s: {', '.join(waiting)}; see the logs in "
                    f"{self.processes.logs}"
                )
            time.sleep(0.5)

    def clear(self, layout: Layout) -> None:
        """Stop what is recorded and clear what is left on the machine."""
        self.processes.stop()
        clear_leftovers(layout)

    def status(self) -> list[Component]:
        """Every component of the cluster; empty if it has no state."""
        layout = recorded_layout(self.name)
        return [] if layout is None else self.components(layout)

    def components(self, layout: Layout) -> list[Component]:
        """Every component that a cluster of this layout has, as it is now."""
        keys = Keys(layout.folder / "pki")
        checks: dict[str, Callable[[], bool]] = {
            "etcd": partial(health.apiserver_ready, layout, keys, "/etcd"),
            "kube-apiserver": partial(health.apiserver_ready, layout, keys),
        }
        controllers = ["kube-controller-manager"]
        if not layout.api_only:
            controllers.append("kube-scheduler")
            checks["kube-proxy"] = partial(health.proxy_ready, layout)
            checks["registry"] = lambda: True  # listens where only the nodes reach it
        for name in controllers:
            checks[name] = partial(health.controller_ready, layout, name)
        for letter in layout.node_letters:
            checks[f"containerd-{letter}"] = partial(health.containerd_ready, layout, letter)
            checks[f"kubelet-{letter}"] = partial(health.node_ready, layout, keys, letter)
        found = []
        for name, check in checks.items():
            process = self.processes.find(name)
            pid = process.pid if process is not None and process.alive else None
            found.append(Component(name, pid, pid is not None and check(), version(name)))
        if not layout.api_only:
            found.append(Component("coredns", None, health.dns_ready(layout), version("coredns")))
        return found


def stop_unused_registry() -> None:
    """Stop the registry unless a cluster of this state folder is up, or somebody pushes."""
    clusters = (ProcessFolder(file.parent) for file in state_folder().glob("*/cluster.json"))
    if not any(process.alive for folder in clusters for process in folder.all()):
        stop_registry()


def version(component: str) -> str:
    """The version that a component is built from; containerd's is asked of the program."""
    name = component.removesuffix("-a").removesuffix("-b")
    if name == "containerd":
        command = ["containerd", "--version"]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return words.split()[2]
    modules = {
        "etcd": "go.etcd.io/etcd/server/v3",
        "coredns": "github.com/coredns/coredns",
        "registry": "github.com/distribution/distribution/v3",
    }
    return module_version(TOOLS[name].folder, modules.get(name, "k8s.io/kubernetes"))


def require_machine(root: bool) -> None:
    """Raise LocalClusterError unless this is Linux and, with `root`, we are root."""
    if sys.platform != "linux":
        raise LocalClusterError(
            "the local cluster runs on Linux only: use kind, or a cluster of yours, with "
            "KUBECONFIG= and REGISTRY="
        )
    if root and os.getuid() != 0:
        raise LocalClusterError(
            "nodes need root (mounts, cgroups, network namespaces): run this as root, or with "
            "--api-only"
        )


def require_same_shape(layout: Layout, wanted: int) -> None:
    """Raise LocalClusterError if the running cluster has another number of nodes."""
    if layout.nodes != wanted:
        raise LocalClusterError(
            f"cluster {layout.name} is up with {layout.nodes} nodes, not {wanted}: run "
            f"`python3 -m tests.localcluster down --name {layout.name}` first"
        )
