"""The real Kueue against a cluster's API server: what its own chart installs, and its manager as a
process of this machine.

Chart and manager come from one Go module. There are no nodes, so the chart's Deployment is left
out, and its webhooks' Service names this machine instead of pods; the manager has the rights and
makes the certificates that it would in a cluster. The visibility API is off.
"""

import base64
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from tests.localcluster.cluster import Cluster
from tests.localcluster.tools import TOOLS, ensure_tool, module_folder
from tests.support.kube import Kube, Object
from tests.support.operator import free_port
from tests.support.waiting import wait_for

NAMESPACE = "kueue-system"
LEFT_OUT = ("Deployment", "APIService")
CERTIFICATES = "kueue-webhook-server-cert"


@contextmanager
def running_kueue(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Kueue, ready, with the integration of batch/job alone; its manager ends with the block."""
    program = ensure_tool("kueue")
    webhooks, health = free_port(), free_port()
    certificates = folder / "certificates"
    certificates.mkdir(parents=True)
    configuration = folder / "configuration.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(webhooks, health, certificates)))
    install(cluster, configuration.read_text(), webhooks)
    log = folder / "kueue.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(program), f"--config={configuration}", "--zap-log-level=2"],
            env={**os.environ, "KUBECONFIG": str(_kubeconfig(cluster, folder))},
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()[-4000:]
        _mount(cluster, certificates)
        try:
            with urlopen(f"http://127.0.0.1:{health}/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False

    try:
        wait_for(f"Kueue is ready; log: {log}", is_ready, bool, 180)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(webhooks: int, health: int, certificates: Path) -> Object:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": webhooks, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": True, "webhookSecretName": CERTIFICATES},
        "integrations": {"frameworks": ["batch/job"]},
        "featureGates": {"VisibilityOnDemand": False},
    }


def install(cluster: Cluster, configuration: str, webhooks: int) -> None:
    """Apply what Kueue's chart renders, with its webhooks at a port of this machine."""
    cluster.kubectl("apply", "-f", "-", text=yaml.safe_dump(_namespace()))
    manifests = [_here(m, webhooks) for m in _rendered(configuration) if m["kind"] not in LEFT_OUT]
    text = yaml.safe_dump_all(manifests)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


def _namespace() -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def _rendered(configuration: str) -> list[Object]:
    chart = module_folder(TOOLS["kueue"], "sigs.k8s.io/kueue") / "charts" / "kueue"
    values = {"managerConfig": {"controllerManagerConfigYaml": configuration}}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        command = [str(ensure_tool("helm")), "template", "kueue", str(chart)]
        options = ["--namespace", NAMESPACE, "--values", file.name]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def _here(manifest: Object, webhooks: int) -> Object:
    """The manifest with this machine in place of the manager's pods."""
    if manifest["metadata"]["name"] == "kueue-webhook-service":
        return {**manifest, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    hooks: list[Any] = list(manifest.get("webhooks") or [])
    if manifest["kind"] == "CustomResourceDefinition":
        hooks = [(manifest["spec"].get("conversion") or {}).get("webhook")]
    for hook in filter(None, hooks):
        hook["clientConfig"]["service"]["port"] = webhooks
    return manifest


def _kubeconfig(cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig with the rights of Kueue's own service account."""
    words = ("-n", NAMESPACE, "create", "token", "kueue-controller-manager", "--duration=3h")
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": cluster.kubectl(*words).strip()}
    path = folder / "kueue.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def _mount(cluster: Cluster, folder: Path) -> None:
    """Lay down the certificates that the manager has made, as a kubelet would mount them."""
    secret = Kube(cluster.kubeconfig).call(
        "GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{CERTIFICATES}"
    )
    for name, value in sorted((secret.get("data") or {}).items(), reverse=True):
        (folder / name).write_bytes(base64.b64decode(value))
