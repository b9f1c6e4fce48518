"""Keys and certificates of a cluster, made by openssl, and the kubeconfig files that hold them.

They are for one machine and live ten years; nothing rotates them.
"""

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.localcluster.layout import Layout

DAYS = "3650"
EC_KEY = ("-pkeyopt", "ec_paramgen_curve:P-256")

CONFIGURATION = """\
[req]
distinguished_name = name
x509_extensions = extensions
[name]
[extensions]
basicConstraints = critical, CA:{authority}
keyUsage = critical, {usage}
{more}
"""


@dataclass(frozen=True)
class Keys:
    """The folder of keys; each certificate is NAME.crt beside NAME.key."""

    folder: Path

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def public_key(self, name: str) -> Path:
        return self.folder / f"{name}.pub"

    def kubeconfig(self, name: str) -> Path:
        return self.folder / f"{name}.kubeconfig"


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def sign(keys: Keys, name: str, subject: str, extensions: str, authority: bool = False) -> None:
    """Make a key and a certificate for `subject`, signed by the cluster's authority (or itself)."""
    if keys.certificate(name).exists():
        return
    usage = "keyCertSign, cRLSign" if authority else "digitalSignature, keyEncipherment"
    configuration = keys.folder / f"{name}.cnf"
    configuration.write_text(
        CONFIGURATION.format(authority=str(authority).upper(), usage=usage, more=extensions)
    )
    signer: list[str | Path] = []
    if not authority:
        signer = ["-CA", keys.certificate("ca"), "-CAkey", keys.key("ca")]
    request = ["req", "-x509", "-newkey", "ec", *EC_KEY, "-nodes", "-days", DAYS]
    files: list[str | Path] = ["-keyout", keys.key(name), "-out", keys.certificate(name)]
    openssl(*request, "-config", configuration, "-subj", subject, *signer, *files)
    configuration.unlink()


def ensure_keys(layout: Layout) -> Keys:
    """Make what is missing of the authority, server and client certificates and kubeconfigs."""
    keys = Keys(layout.folder / "pki")
    keys.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sign(keys, "ca", f"/CN=llmcloud-{layout.name}", "", authority=True)
    service = "kubernetes.default.svc.cluster.local"
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", service, "localhost")
    addresses = {"127.0.0.1", layout.node_address("a"), f"{layout.subnet}.128.1"}
    alternatives = [f"DNS:{n}" for n in names] + [f"IP:{a}" for a in sorted(addresses)]
    server = f"extendedKeyUsage = serverAuth\nsubjectAltName = {','.join(alternatives)}"
    sign(keys, "kube-apiserver", "/CN=kube-apiserver", server)
    clients = {
        "admin": "/O=system:masters/CN=admin",
        "apiserver-to-kubelet": "/O=system:masters/CN=kube-apiserver-kubelet-client",
        "kube-controller-manager": "/CN=system:kube-controller-manager",
        "kube-scheduler": "/CN=system:kube-scheduler",
        "kube-proxy": "/CN=system:kube-proxy",
    }
    for letter in layout.node_letters:
        subject = f"/O=system:nodes/CN=system:node:{layout.node_name(letter)}"
        clients[f"kubelet-{letter}"] = subject
    for name, subject in clients.items():
        sign(keys, name, subject, "extendedKeyUsage = clientAuth")
        write_kubeconfig(layout, keys, name, keys.kubeconfig(name))
    write_kubeconfig(layout, keys, "admin", layout.folder / "kubeconfig")
    if not keys.key("service-accounts").exists():
        openssl("genpkey", "-algorithm", "EC", *EC_KEY, "-out", keys.key("service-accounts"))
    private, public = keys.key("service-accounts"), keys.public_key("service-accounts")
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return keys


def write_kubeconfig(layout: Layout, keys: Keys, name: str, file: Path) -> None:
    """Write a kubeconfig (JSON is YAML) with the certificate of `name` inside."""

    def encoded(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    cluster = {
        "server": layout.server,
        "certificate-authority-data": encoded(keys.certificate("ca")),
    }
    user = {
        "client-certificate-data": encoded(keys.certificate(name)),
        "client-key-data": encoded(keys.key(name)),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": layout.name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": layout.name, "context": {"cluster": layout.name, "user": name}}],
        "current-context": layout.name,
    }
    file.touch(mode=0o600)
    file.write_text(json.dumps(content, indent=1))
