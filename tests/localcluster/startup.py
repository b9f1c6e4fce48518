"""The order in which a cluster's programs start, and the waits in between."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.localcluster import control_plane, health, node
from tests.localcluster.dns import dns_objects
from tests.localcluster.kubectl import kubectl
from tests.localcluster.layout import Layout
from tests.localcluster.network import create_network, inside
from tests.localcluster.paths import say
from tests.localcluster.pki import Keys, ensure_keys
from tests.localcluster.processes import ProcessFolder
from tests.localcluster.registry import ensure_registry, write_configuration
from tests.localcluster.tools import ensure_tool

READY_SECONDS = 120


class Startup:
    """Starts the cluster of `layout` on a machine where nothing of it runs."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.processes = ProcessFolder(layout.folder)
        self.since = datetime.now(UTC)

    def run(self) -> None:
        """Start everything and wait until it is ready. Raises LocalClusterError."""
        keys = ensure_keys(self.layout)
        self.layout.run_folder.mkdir(mode=0o711)
        if not self.layout.api_only:
            create_network(self.layout)
        for letter in self.layout.node_letters:
            node.prepare_node(self.layout, letter)
            configuration = self.layout.node_run_folder(letter) / "containerd.toml"
            self.launch(f"containerd-{letter}", "containerd", [f"--config={configuration}"])
        self.control_plane(keys)
        if not self.layout.api_only:
            self.nodes(keys)
        name = "kube-controller-manager"
        self.wait(name, partial(health.controller_ready, self.layout, name))

    def control_plane(self, keys: Keys) -> None:
        """Start the API server with what it needs, and the programs that need only it."""
        layout = self.layout
        self.start("etcd", control_plane.etcd_flags(layout))
        self.start("kube-apiserver", control_plane.apiserver_flags(layout, keys))
        self.wait("kube-apiserver", partial(health.apiserver_ready, layout, keys))
        flags = control_plane.controller_manager_flags(layout, keys)
        self.start("kube-controller-manager", flags)
        if not layout.api_only:
            flags = control_plane.client_flags(layout, keys, "kube-scheduler")
            self.start("kube-scheduler", flags)

    def nodes(self, keys: Keys) -> None:
        """Start what runs pods, on top of a ready API server and started containerds."""
        layout = self.layout
        objects = {"apiVersion": "v1", "kind": "List", "items": dns_objects(layout)}
        kubectl(layout.folder, "apply", "--server-side", "-f", "-", text=json.dumps(objects))
        self.registry()
        self.start("kube-proxy", node.proxy_flags(layout, keys))
        for letter in layout.node_letters:
            self.wait(f"containerd-{letter}", partial(health.containerd_ready, layout, letter))
            node.import_images(layout, letter)
            flags = node.kubelet_flags(layout, keys, letter)
            self.launch(f"kubelet-{letter}", ensure_tool("kubelet"), flags)
        for letter in layout.node_letters:
            self.wait(
                f"kubelet-{letter}",
                partial(health.node_ready, layout, keys, letter, self.since),
            )
        self.wait("kube-proxy", partial(health.proxy_ready, layout))
        self.wait("kube-scheduler", partial(health.controller_ready, layout, "kube-scheduler"))
        self.wait("kubelet-a", partial(health.dns_ready, layout), what="CoreDNS")

    def registry(self) -> None:
        """Serve the registry's blobs inside the cluster's network, at the same address."""
        port = int(ensure_registry().rpartition(":")[2])
        configuration = write_configuration(self.layout.run_folder, port)
        self.start("registry", ["serve", str(configuration)])

    def start(self, tool: str, flags: list[str]) -> None:
        """Start a program that is called like its tool."""
        self.launch(tool, ensure_tool(tool), flags)

    def launch(self, name: str, program: str | Path, flags: list[str]) -> None:
        self.processes.start(name, inside(self.layout, [program, *flags]))

    def wait(self, name: str, ready: Callable[[], bool], what: str = "") -> None:
        """Wait for `what` (else `name`), while the program `name` lives, and say so."""
        self.processes.wait_until(name, ready, READY_SECONDS)
        seconds = (datetime.now(UTC) - self.since).total_seconds()
        say(f"{what or name} is ready after {seconds:.1f} s")
