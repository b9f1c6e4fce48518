"""Names, ports and addresses of one cluster, all derived from its index.

The index is claimed for the whole machine, so clusters of different state folders never meet, and
recorded in the cluster's folder, so that a recovered cluster keeps its addresses.
"""

import ipaddress
import json
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.localcluster.paths import LocalClusterError, locked, machine_folder, state_folder

CLUSTERS_AT_ONCE = 100
FIRST_SUBNET = 100
FIRST_PORT = 21_000
PORTS_PER_CLUSTER = 20
NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
PORTS = (
    "etcd",
    "etcd-peer",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kube-proxy-metrics",
    "kubelet-a",
    "kubelet-a-health",
    "kubelet-b",
    "kubelet-b-health",
)


@dataclass(frozen=True)
class Layout:
    """The shape of a cluster: name, machine-wide index, number of nodes (0: API server only)."""

    name: str
    index: int
    nodes: int

    @property
    def api_only(self) -> bool:
        return self.nodes == 0

    @property
    def node_letters(self) -> str:
        return "ab"[: self.nodes]

    @property
    def folder(self) -> Path:
        """All that is kept: kubeconfig, records, logs, etcd's data, the nodes' images."""
        return state_folder() / self.name

    @property
    def run_folder(self) -> Path:
        """Sockets and mounts, under a path short enough for a Unix socket."""
        return machine_folder() / str(self.index)

    @property
    def claim(self) -> Path:
        """The file that reserves the index; it names the cluster's folder."""
        return machine_folder() / f"{self.index}.owner"

    @property
    def namespace(self) -> str:
        """The network namespace of the control plane and the nodes; also the nft table's name."""
        return f"llmcloud-{self.index}"

    @property
    def link(self) -> str:
        """The machine's end of the wire into the network namespace."""
        return f"llmcloud{self.index}"

    @property
    def subnet(self) -> str:
        """First two numbers of every address of the cluster."""
        return f"10.{FIRST_SUBNET + self.index}"

    @property
    def cluster_range(self) -> str:
        return f"{self.subnet}.0.0/16"

    @property
    def machine_address(self) -> str:
        """Where pods reach servers on the machine itself."""
        return f"{self.subnet}.0.1"

    @property
    def address(self) -> str:
        """Where the control plane listens."""
        return "127.0.0.1" if self.api_only else self.node_address("a")

    @property
    def pod_range(self) -> str:
        return f"{self.subnet}.64.0/18"

    @property
    def service_range(self) -> str:
        return f"{self.subnet}.128.0/20"

    @property
    def dns_address(self) -> str:
        return f"{self.subnet}.128.10"

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port('kube-apiserver')}"

    def port(self, name: str) -> int:
        """The port of one of PORTS."""
        return FIRST_PORT + PORTS_PER_CLUSTER * self.index + PORTS.index(name)

    def node_name(self, letter: str) -> str:
        return f"{self.name}-{letter}"

    def node_address(self, letter: str) -> str:
        return f"{self.subnet}.0.{2 + 'ab'.index(letter)}"

    def node_pod_range(self, letter: str) -> str:
        return f"{self.subnet}.{64 + 'ab'.index(letter)}.0/24"

    def node_run_folder(self, letter: str) -> Path:
        return self.run_folder / letter

    def node_cgroup(self, letter: str) -> str:
        """The node's root in every cgroup hierarchy: or kubelets reap each other's pods."""
        return f"/{self.namespace}-{letter}"


def check_name(name: str) -> None:
    """Raise LocalClusterError unless `name` can be part of every name derived from it."""
    if not NAME.fullmatch(name) or name in ("locks", "registry", "user"):
        raise LocalClusterError(
            f"{name!r} cannot name a cluster: use up to 30 of a-z, 0-9 and -, starting with a "
            "letter, and none of locks, registry, user"
        )


def recorded_layout(name: str) -> Layout | None:
    """The layout of the cluster `name` as last started; None if it has no state."""
    check_name(name)
    try:
        recorded = json.loads((state_folder() / name / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return Layout(**recorded)


def claim_layout(name: str, nodes: int) -> Layout:
    """Claim an index, the recorded one first, and record the layout."""
    check_name(name)
    recorded = recorded_layout(name)
    folder = state_folder() / name
    with locked(machine_folder() / "lock"):
        candidates = range(CLUSTERS_AT_ONCE) if recorded is None else [recorded.index]
        for index in candidates:
            layout = Layout(name, index, nodes)
            owner = layout.claim.read_text() if layout.claim.exists() else None
            if owner == str(folder) or (owner is None and addresses_free(layout)):
                break
        else:
            raise LocalClusterError(
                f"the addresses of cluster {name} are used by something else on this machine: "
                f"stop that, or delete {folder} to start with new addresses"
            )
        layout.claim.write_text(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cluster.json").write_text(json.dumps(asdict(layout)))
    return layout


def addresses_free(layout: Layout) -> bool:
    """Whether no route of the machine overlaps the cluster's range, nor a server its ports."""
    ports = range(layout.port(PORTS[0]), layout.port(PORTS[-1]) + 1)
    if any(f":{port:04X} " in Path("/proc/net/tcp").read_text() for port in ports):
        return False
    if shutil.which("ip") is None:
        return True
    answer = subprocess.run(
        ("ip", "-json", "-4", "route"), capture_output=True, text=True, check=True
    )
    wanted = ipaddress.ip_network(layout.cluster_range)
    destinations = (route["dst"] for route in json.loads(answer.stdout or "[]"))
    return not any(
        wanted.overlaps(ipaddress.ip_network(text)) for text in destinations if text != "default"
    )
