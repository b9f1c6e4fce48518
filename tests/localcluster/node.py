"""A node: containerd and a kubelet with folders, sockets, pod range and cgroup root of their own.

The limits are those of a development machine: a full disk evicts nothing, a crashing container is
restarted after a second, images are pulled side by side.
"""

import json
import subprocess
from pathlib import Path

from tests.localcluster.cgroups import create_cgroup
from tests.localcluster.images import image_name, pack
from tests.localcluster.layout import Layout
from tests.localcluster.pki import Keys
from tests.localcluster.tools import ensure_tool

CNI_PLUGINS = Path("/usr/lib/cni")
PROGRAMS = {
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "nft": "nftables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
}
EVICTION_SIGNALS = ("memory", "nodefs", "imagefs")

CONTAINERD = """\
version = 2
root = "{data}"
state = "{run}/containerd"
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{run}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE runc dies of a lowered OOM score: "can't get final child's PID".
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{run}/runc"
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{run}/cni"
"""


def prepare_node(layout: Layout, letter: str) -> None:
    """Make the node's cgroup, folders and configuration files.

    The kubelet's folder is bound into the run folder: it puts sockets there, and a socket's path
    has at most 107 bytes, however long the state's path is.
    """
    create_cgroup(layout.node_cgroup(letter))
    run = layout.node_run_folder(letter)
    data = node_folder(layout, letter)
    for folder in (run / "cni", run / "kubelet", data / "containerd", data / "kubelet"):
        folder.mkdir(parents=True, exist_ok=True)
    mount("--bind", data / "kubelet", run / "kubelet")
    mount("--make-private", run / "kubelet")
    (run / "containerd.toml").write_text(
        CONTAINERD.format(
            data=data / "containerd",
            run=run,
            cni=CNI_PLUGINS,
            pause=image_name(ensure_tool("pause")),
        )
    )
    (run / "cni/10-llmcloud.conflist").write_text(json.dumps(cni_configuration(layout, letter)))


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


def node_folder(layout: Layout, letter: str) -> Path:
    """What a node keeps when it is stopped: images, snapshots, pods' volumes."""
    return layout.folder / f"node-{letter}"


def cni_configuration(layout: Layout, letter: str) -> dict[str, object]:
    """A bridge for the node's pods; nothing hides a pod's address within the cluster."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": layout.node_pod_range(letter)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(layout.node_run_folder(letter) / "addresses"),
    }
    bridge = {
        "type": "bridge",
        "bridge": f"pods-{letter}",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, port_map]}


def kubelet_flags(layout: Layout, keys: Keys, letter: str) -> list[str]:
    """Write the kubelet's configuration; returns its flags."""
    run = layout.node_run_folder(letter)
    resolver = layout.folder / "resolv.conf"
    resolver.write_text("".join(f"nameserver {server}\n" for server in name_servers()))
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.node_address(letter),
        "port": layout.port(f"kubelet-{letter}"),
        "healthzBindAddress": layout.node_address(letter),
        "healthzPort": layout.port(f"kubelet-{letter}-health"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{run}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": layout.node_cgroup(letter),
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "clusterDNS": [layout.dns_address],
        "clusterDomain": "cluster.local",
        "resolvConf": str(resolver),
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,
        "volumeStatsAggPeriod": "10s",  # a minute by default: how late a full disk is noticed
        "evictionHard": {f"{signal}.available": "0%" for signal in EVICTION_SIGNALS},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
    }
    file = run / "kubelet.json"
    file.write_text(json.dumps(configuration, indent=1))
    return [
        f"--config={file}",
        f"--kubeconfig={keys.kubeconfig(f'kubelet-{letter}')}",
        f"--hostname-override={layout.node_name(letter)}",
        f"--node-ip={layout.node_address(letter)}",
        f"--root-dir={run / 'kubelet'}",
    ]


def name_servers() -> list[str]:
    """The machine's name servers that a pod can reach: none on a loopback address."""
    servers = []
    for file in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        lines = file.read_text().splitlines() if file.exists() else []
        words = [line.split() for line in lines if line.startswith("nameserver ")]
        servers = [word[1] for word in words if not word[1].startswith("127.")]
        if servers:
            break
    return servers


def proxy_flags(layout: Layout, keys: Keys) -> list[str]:
    """Write the configuration of kube-proxy; returns its flags. One serves both nodes."""
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(keys.kubeconfig("kube-proxy"))},
        "hostnameOverride": layout.node_name("a"),
        "clusterCIDR": layout.pod_range,
        "healthzBindAddress": f"{layout.address}:{layout.port('kube-proxy')}",
        "metricsBindAddress": f"127.0.0.1:{layout.port('kube-proxy-metrics')}",
        # Connection tracking belongs to the machine: leave its settings alone.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
    file = layout.run_folder / "kube-proxy.json"
    file.write_text(json.dumps(configuration, indent=1))
    return [f"--config={file}"]


def ctr(layout: Layout, letter: str, *words: str | Path) -> str:
    """The output of containerd's own client, in the kubelet's namespace of images."""
    socket = layout.node_run_folder(letter) / "containerd.sock"
    command = ["ctr", "--address", str(socket), "--namespace", "k8s.io", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def import_images(layout: Layout, letter: str) -> None:
    """Put the images of pause and CoreDNS into the node, if they are not there."""
    present = ctr(layout, letter, "images", "list", "--quiet").split()
    for binary in (ensure_tool("pause"), ensure_tool("coredns")):
        if image_name(binary) not in present:
            archive = layout.run_folder / f"{binary.name}.tar"
            pack(binary, archive)
            ctr(layout, letter, "images", "import", archive)
            archive.unlink()
