"""How one sees that a part of the cluster works: by asking it, not by its process being there."""

import json
import secrets
import socket
import ssl
import struct
import subprocess
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

from tests.localcluster.layout import Layout
from tests.localcluster.pki import Keys

TIMEOUT_SECONDS = 5


def get(url: str, keys: Keys | None = None) -> tuple[int, bytes]:
    """The status and body of a GET, (0, b"") if nobody answers; with `keys`, as administrator."""
    context = ssl.create_default_context()
    if keys is None:  # the health of a server whose certificate is of its own making
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        if not keys.certificate("admin").exists():
            return 0, b""
        context.load_verify_locations(keys.certificate("ca"))
        context.load_cert_chain(keys.certificate("admin"), keys.key("admin"))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def apiserver_ready(layout: Layout, keys: Keys, check: str = "") -> bool:
    """Whether kube-apiserver, or one of its checks such as "/etcd", is ready."""
    return get(f"{layout.server}/readyz{check}", keys)[0] == 200


def controller_ready(layout: Layout, name: str) -> bool:
    """Whether kube-controller-manager or kube-scheduler says that it is healthy."""
    return get(f"https://{layout.address}:{layout.port(name)}/healthz")[0] == 200


def proxy_ready(layout: Layout) -> bool:
    """Whether kube-proxy has written its rules."""
    return get(f"http://{layout.address}:{layout.port('kube-proxy')}/healthz")[0] == 200


def containerd_ready(layout: Layout, letter: str) -> bool:
    """Whether containerd answers on its socket."""
    address = layout.node_run_folder(letter) / "containerd.sock"
    command = ["ctr", "--address", str(address), "--connect-timeout", "2s", "version"]
    return (
        address.exists()
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def node_ready(layout: Layout, keys: Keys, letter: str, since: datetime | None = None) -> bool:
    """Whether the node is Ready, and, given `since`, its kubelet has reported after that time."""
    name = layout.node_name(letter)
    port = layout.port(f"kubelet-{letter}-health")
    if get(f"http://{layout.node_address(letter)}:{port}/healthz")[0] != 200:
        return False
    node = read(layout, keys, f"/api/v1/nodes/{name}")
    conditions = node.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    if not ready or since is None:
        return ready
    path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
    renewed = read(layout, keys, path).get("spec", {}).get("renewTime")
    return renewed is not None and datetime.fromisoformat(renewed) > since


def read(layout: Layout, keys: Keys, path: str) -> dict[str, Any]:
    """An object of the API server; empty if it cannot be read."""
    status, body = get(layout.server + path, keys)
    content: dict[str, Any] = json.loads(body) if status == 200 else {}
    return content


def dns_ready(layout: Layout) -> bool:
    """Whether the Service of CoreDNS resolves a name: nodes, routes, rules and pods all work."""
    identifier = secrets.token_bytes(2)
    labels = ["kubernetes", "default", "svc", "cluster", "local"]
    question = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    query = identifier + struct.pack(">5H", 0x0100, 1, 0, 0, 0) + question + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        try:
            client.connect((layout.dns_address, 53))
            client.send(query)
            answer = client.recv(512)
        except OSError:
            return False
    flags, _, answers = struct.unpack(">3H", answer[2:8])
    return answer[:2] == identifier and flags & 0xF == 0 and answers > 0
