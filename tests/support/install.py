"""The chart in a cluster: images, helm install, the quickstart, the gateway on loopback.

`python -m tests.support.install` is `make install`. With KUBECONFIG set, the cluster that it
names is used; with REGISTRY set, images go there.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from tests.localcluster.cluster import Cluster
from tests.localcluster.image_build import build_images, chart_values
from tests.localcluster.paths import LocalClusterError, exit_status
from tests.localcluster.processes import ProcessFolder
from tests.localcluster.registry import is_free
from tests.localcluster.tools import ensure_tool
from tests.support.given import NAMESPACE as NAMESPACE
from tests.support.given import AnyCluster, ensure_cluster
from tests.support.kube import Kube

ROOT = Path(__file__).parent.parent.parent
STORAGE_CLASS = "node-folder"
QUICKSTART = ROOT / "examples" / "quickstart.yaml"


def ensure_images() -> dict[str, str]:
    """Image references by name, built and pushed."""
    return build_images()


def helm(cluster: AnyCluster, *words: str) -> str:
    """The output of helm. Raises CalledProcessError after printing what helm said."""
    command = [str(ensure_tool("helm")), "--kubeconfig", str(cluster.kubeconfig), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


def helm_install(cluster: AnyCluster, images: dict[str, str], *options: str) -> None:
    """Install or upgrade the release `llmcloud` with the embedded store and its samples."""
    store: dict[str, Any] = {"enabled": True, "samples": True}
    if isinstance(cluster, Cluster):
        _volume_on_the_node(cluster)
        store |= {"persistent": True, "size": "5Gi", "storageClassName": STORAGE_CLASS}
    values = {**chart_values(images), "embeddedStore": store}
    file = cluster.folder / "values.json"
    file.write_text(json.dumps(values))
    cluster.kubectl("apply", "-f", str(_namespace_file(cluster)))
    helm(
        cluster, "upgrade", "--install", "llmcloud", "charts/llmcloud", "--namespace", NAMESPACE,
        "--values", str(file), "--wait", "--timeout", "300s", *options,
    )  # fmt: skip


def _namespace_file(cluster: AnyCluster) -> Path:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"name": NAMESPACE, "labels": labels}
    file = cluster.folder / "namespace.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": meta}))
    return file


def _volume_on_the_node(cluster: Cluster) -> None:
    """The local cluster provisions no volumes: one folder of its state is the store's volume."""
    folder = cluster.folder / "volumes" / "store"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "llmcloud-store"},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(folder)},
        },
    }
    file = cluster.folder / "volume.json"
    file.write_text(json.dumps(volume))
    cluster.kubectl("apply", "-f", str(file))


def copy_keys(cluster: AnyCluster, namespace: str) -> None:
    """Copy the embedded store's keys into a tenant's namespace as Secret `store-keys`."""
    kube = Kube(cluster.kubeconfig)
    secret = kube.get("Secret", NAMESPACE, "llmcloud-store-keys")
    assert secret is not None, "the embedded store is not installed"
    meta = {"name": "store-keys", "namespace": namespace}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": secret["data"]}
    kube.apply(manifest)


def apply_quickstart(cluster: AnyCluster, kube: Kube) -> None:
    """The quickstart's namespace, keys and objects."""
    kube.namespace("quickstart")
    copy_keys(cluster, "quickstart")
    print(cluster.kubectl("apply", "-f", str(QUICKSTART)), end="")


def expose_gateway(cluster: AnyCluster, port: int) -> str:
    """Forward a loopback port to the gateway until the cluster goes down; its URL.

    Raises LocalClusterError if another program has the port.
    """
    processes = ProcessFolder(cluster.folder)
    name = f"gateway-{port}"
    url = f"http://127.0.0.1:{port}"
    if not is_forwarded(cluster, port):
        require_port(cluster, port)
        script = [sys.executable, "-m", "tests.support.forward", str(cluster.kubeconfig), str(port)]
        processes.start(name, script)
    processes.wait_until(name, lambda: _answers(url), 60)
    return url


def is_forwarded(cluster: AnyCluster, port: int) -> bool:
    """Whether a process of ours forwards the port to the gateway of this very cluster."""
    process = ProcessFolder(cluster.folder).find(f"gateway-{port}")
    return process is not None and process.alive


def require_port(cluster: AnyCluster, port: int) -> None:
    """Raise LocalClusterError unless the port is free, or forwarded to this cluster already."""
    if not is_forwarded(cluster, port) and not is_free(port):
        raise LocalClusterError(
            f"port {port} of 127.0.0.1 belongs to another program, perhaps to the gateway of "
            "another cluster: stop it, or name a free port with PORT="
        )


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/healthz", timeout=2) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


def settings_of(cluster: AnyCluster, namespace: str = NAMESPACE) -> dict[str, Any]:
    """The settings that the chart gave to the operator of a release `llmcloud`."""
    text = cluster.kubectl("-n", namespace, "get", "configmap", "llmcloud-operator", "-o", "json")
    settings: dict[str, Any] = yaml.safe_load(json.loads(text)["data"]["settings.yaml"])
    settings.pop("port", None)
    return settings


def operator_kubeconfig(cluster: AnyCluster, folder: Path, namespace: str = NAMESPACE) -> Path:
    """A kubeconfig with the rights of the operator's own service account, and no more."""
    token = cluster.kubectl(
        "-n", namespace, "create", "token", "llmcloud-operator", "--duration=2h"
    )
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]
    result = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "operator",
        "clusters": [{"name": "local", "cluster": server}],
        "users": [{"name": "operator", "user": {"token": token.strip()}}],
        "contexts": [{"name": "operator", "context": {"cluster": "local", "user": "operator"}}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(result))
    return path


def main() -> int:
    """`make install`."""
    started = time.monotonic()
    helm_install(ensure_cluster(), ensure_images())
    print(f"llmcloud is installed in {NAMESPACE} after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
