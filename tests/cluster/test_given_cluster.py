"""The same targets take a cluster that was there before: KUBECONFIG and REGISTRY name it."""

import base64
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.contract.certificates import write_certificate
from tests.localcluster.cluster import Cluster
from tests.localcluster.paths import LocalClusterError
from tests.support.given import NAMESPACE, take
from tests.support.install import ROOT, ensure_images
from tests.support.kube import Kube

TOKEN = "a-token-of-theirs"
PREFIX = "/k8s/clusters/c-1"


def test_make_install_takes_the_cluster_and_the_registry_that_it_is_given() -> None:
    ensure_images()
    theirs = Cluster("theirs")
    try:
        theirs.up(nodes=2)
        environment = {
            **os.environ,
            "KUBECONFIG": str(theirs.kubeconfig),
            "REGISTRY": theirs.registry,
        }
        subprocess.run(["make", "install"], cwd=ROOT, env=environment, check=True)
        nodes = theirs.kubectl("get", "nodes", "-o", "name").split()
        assert len(nodes) == 2
        theirs.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
        deployments = theirs.kubectl("-n", NAMESPACE, "get", "deployments", "-o", "name").split()
        for deployment in ("operator", "gateway", "store"):
            assert f"deployment.apps/llmcloud-{deployment}" in deployments
            theirs.kubectl(
                "-n", NAMESPACE, "rollout", "status", f"deployment/llmcloud-{deployment}",
                "--timeout=60s",
            )  # fmt: skip
        subprocess.run(["make", "cluster-down"], cwd=ROOT, env=environment, check=True)
        assert all(component.ready for component in theirs.status())
    finally:
        theirs.down()


class Answer(BaseHTTPRequestHandler):
    """Every object exists for who shows the token."""

    def do_GET(self) -> None:
        known = self.headers["authorization"] == f"Bearer {TOKEN}"
        code, body = (200, {"path": self.path}) if known else (401, {"message": "Unauthorized"})
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the client tells what went wrong."""


@pytest.fixture
def cluster_entry(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a kubeconfig says of an API server behind a path, which runs and knows a token."""
    certificate, key = write_certificate(tmp_path / "tls")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    authority = base64.b64encode(certificate.read_bytes()).decode()
    url = f"https://127.0.0.1:{server.server_port}{PREFIX}"
    yield {"server": url, "certificate-authority-data": authority}
    server.shutdown()
    thread.join()
    server.server_close()


def write_config(
    file: Path, name: str, cluster: dict[str, Any], user: dict[str, Any], context: str | None
) -> Path:
    """A kubeconfig with one context, and another as the current one if `context` names it."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        **({"current-context": context} if context else {}),
    }
    file.write_text(json.dumps(content))
    return file


def plugin(folder: Path) -> dict[str, Any]:
    """A credential plugin beside its kubeconfig, as the clouds have them."""
    status = {"status": {"token": TOKEN}}
    said = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", **status}
    program = folder / "login"
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(said)!r})\n")
    program.chmod(0o700)
    version = {"apiVersion": said["apiVersion"], "interactiveMode": "Never"}
    return {"exec": {"command": "./login", "args": ["--quiet"], **version}}


@pytest.mark.parametrize("way", ["token", "tokenFile", "exec"])
def test_the_current_context_of_several_files_is_taken_with_its_login(
    way: str, tmp_path: Path, cluster_entry: dict[str, Any]
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    users = {"token": {"token": TOKEN}, "tokenFile": {"tokenFile": "token"}}
    elsewhere = {"server": "https://127.0.0.1:1"}
    first = write_config(tmp_path / "a", "first", elsewhere, {"token": "other"}, "theirs")
    user = users[way] if way in users else plugin(tmp_path)
    second = write_config(tmp_path / "b", "theirs", cluster_entry, user, "first")
    taken = take([first, tmp_path / "absent", second], tmp_path / "taken")
    answer = Kube(taken.kubeconfig).get("Secret", "team", "keys")
    assert answer == {"path": f"{PREFIX}/api/v1/namespaces/team/secrets/keys"}
    assert taken.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert json.loads(taken.kubectl("get", "--raw", "/api"))["path"] == f"{PREFIX}/api"


def test_another_context_is_another_cluster_with_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = {
        take(
            [write_config(tmp_path / "c", "c", {"server": server}, {"token": "t"}, "c")],
            tmp_path / "taken",
        ).folder
        for server in ("https://127.0.0.1:1", "https://127.0.0.1:2", "https://127.0.0.1:1")
    }
    assert len(folders) == 2


@pytest.mark.parametrize(
    ("cluster", "context", "said"),
    [("c", None, "current-context"), ("c", "absent", "absent"), ("absent", "c", "absent")],
)
def test_without_a_context_that_leads_somewhere_kubectls_reason_is_told(
    cluster: str, context: str | None, said: str, tmp_path: Path
) -> None:
    server = {"server": "https://127.0.0.1:1"}
    file = write_config(tmp_path / "c", "c", server, {"token": "t"}, context)
    file.write_text(file.read_text().replace('"cluster": "c"', f'"cluster": "{cluster}"'))
    with pytest.raises(LocalClusterError, match=said):
        take([file], tmp_path / "taken")
