"""The programs of the control plane and their flags.

etcd speaks plain HTTP on a loopback: of the cluster's own network where it has nodes, of the
machine with `--api-only`. It never waits for the disk: a power cut may lose the cluster.
"""

import json

from tests.localcluster.layout import Layout
from tests.localcluster.pki import Keys

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
ISSUER = "https://kubernetes.default.svc.cluster.local"


def etcd_flags(layout: Layout) -> list[str]:
    client = f"http://127.0.0.1:{layout.port('etcd')}"
    peer = f"http://127.0.0.1:{layout.port('etcd-peer')}"
    return [
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_flags(layout: Layout, keys: Keys) -> list[str]:
    """Flags of kube-apiserver; it listens where pods reach it, else CoreDNS knows no name."""
    policy = layout.folder / "audit-policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY))
    # Where there are no nodes, the Service "kubernetes" needs no endpoint; a loopback is refused.
    reconciler = "none" if layout.api_only else "lease"
    return [
        f"--etcd-servers=http://127.0.0.1:{layout.port('etcd')}",
        f"--bind-address={layout.address}",
        f"--advertise-address={layout.address}",
        f"--secure-port={layout.port('kube-apiserver')}",
        f"--endpoint-reconciler-type={reconciler}",
        f"--service-cluster-ip-range={layout.service_range}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={keys.certificate('ca')}",
        f"--tls-cert-file={keys.certificate('kube-apiserver')}",
        f"--tls-private-key-file={keys.key('kube-apiserver')}",
        f"--kubelet-client-certificate={keys.certificate('apiserver-to-kubelet')}",
        f"--kubelet-client-key={keys.key('apiserver-to-kubelet')}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={keys.public_key('service-accounts')}",
        f"--service-account-signing-key-file={keys.key('service-accounts')}",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={layout.folder / 'audit.log'}",
        "--audit-log-format=json",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=3",
    ]


def client_flags(layout: Layout, keys: Keys, name: str) -> list[str]:
    """What kube-controller-manager and kube-scheduler have in common."""
    kubeconfig = keys.kubeconfig(name)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={layout.address}",
        f"--secure-port={layout.port(name)}",
        "--leader-elect=false",
    ]


def controller_manager_flags(layout: Layout, keys: Keys) -> list[str]:
    return [
        *client_flags(layout, keys, "kube-controller-manager"),
        "--use-service-account-credentials",
        f"--root-ca-file={keys.certificate('ca')}",
        f"--service-account-private-key-file={keys.key('service-accounts')}",
        f"--cluster-signing-cert-file={keys.certificate('ca')}",
        f"--cluster-signing-key-file={keys.key('ca')}",
    ]
