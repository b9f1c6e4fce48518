"""CoreDNS as a Deployment behind the Service that every kubelet names to its pods."""

from tests.localcluster.images import image_name
from tests.localcluster.layout import Layout
from tests.localcluster.node import name_servers
from tests.localcluster.tools import ensure_tool

PORT = 1053  # unprivileged, so that the pod runs under Pod Security restricted
LABELS = {"k8s-app": "kube-dns"}

COREFILE = """\
.:1053 {
    errors
    health :8080
    ready :8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    FORWARD
    cache 30
}
"""


def dns_objects(layout: Layout) -> list[dict[str, object]]:
    """The objects of CoreDNS, to be applied."""
    forward = "forward . /etc/resolv.conf" if name_servers() else ""
    metadata = {"name": "coredns", "namespace": "kube-system"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "coredns"}
    subject = {"kind": "ServiceAccount", **metadata}
    read = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
    ]
    rbac = "rbac.authorization.k8s.io/v1"
    service = {
        "clusterIP": layout.dns_address,
        "selector": LABELS,
        "ports": [
            {"name": "dns", "port": 53, "targetPort": PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "targetPort": PORT, "protocol": "TCP"},
        ],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": rbac,
            "kind": "ClusterRole",
            "metadata": {"name": "coredns"},
            "rules": rules,
        },
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "coredns"},
            "roleRef": role,
            "subjects": [subject],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"Corefile": COREFILE.replace("FORWARD", forward)},
        },
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment()},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": LABELS},
            "spec": service,
        },
    ]


def deployment() -> dict[str, object]:
    """The spec of the Deployment: one pod, ready when it has read the Services."""
    container = {
        "name": "coredns",
        "image": image_name(ensure_tool("coredns")),
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"containerPort": PORT, "protocol": "UDP", "name": "dns"},
            {"containerPort": PORT, "protocol": "TCP", "name": "dns-tcp"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "configuration", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{"name": "configuration", "configMap": {"name": "coredns"}}],
    }
    return {
        "replicas": 1,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": pod},
    }
