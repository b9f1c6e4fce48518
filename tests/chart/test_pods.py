"""Every pod of the release passes Pod Security restricted, and holds no rights it does not use."""

import pytest

from tests.chart.chart import EVERY_OPTION, Object, Values, pod_specs, render

STORE: Values = {"embeddedStore": {"enabled": True, "samples": True}}
RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(spec: Object) -> list[str]:
    """What Pod Security restricted (Kubernetes 1.33) has against a pod, and a writable root."""
    found = []
    pod: Object = spec["securityContext"]
    if any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("host namespaces")
    if pod.get("runAsNonRoot") is not True or pod.get("runAsUser") == 0:
        found.append("may run as root")
    if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.append("no seccomp profile")
    for volume in spec["volumes"]:
        if not (volume.keys() - {"name"}) <= RESTRICTED_VOLUMES:
            found.append(f"volume {volume}")
    for container in containers(spec):
        found += [f"{container['name']} {what}" for what in container_violations(container)]
    return found


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def container_violations(container: Object) -> list[str]:
    context = container["securityContext"]
    wrong = {
        "may gain privileges": context.get("allowPrivilegeEscalation") is not False
        or context.get("privileged"),
        "keeps capabilities": context.get("capabilities") != {"drop": ["ALL"]},
        "may write to its image": context.get("readOnlyRootFilesystem") is not True,
        "takes a port of the node": any("hostPort" in p for p in container.get("ports", [])),
    }
    return [what for what, violated in wrong.items() if violated]


@pytest.mark.parametrize("values", [STORE, EVERY_OPTION], ids=["store", "every option"])
def test_pods_are_restricted(values: Values) -> None:
    for name, spec in pod_specs(render(values)).items():
        assert violations(spec) == [], name
        assert spec["securityContext"]["runAsUser"] == 65532


def test_only_the_operator_and_the_gateway_get_a_token() -> None:
    objects = render(STORE)
    tokens = {name: s["automountServiceAccountToken"] for name, s in pod_specs(objects).items()}
    assert tokens == {
        "llmcloud-operator": True,
        "llmcloud-gateway": True,
        "llmcloud-store": False,
    }
    for account in (o for o in objects if o["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_every_container_bounds_its_memory() -> None:
    for spec in pod_specs(render(STORE)).values():
        for container in containers(spec):
            resources = container["resources"]
            assert resources["limits"]["memory"] == resources["requests"]["memory"]


def test_no_container_runs_a_shell_or_shows_a_key() -> None:
    for spec in pod_specs(render(STORE)).values():
        for container in containers(spec):
            words = [*container.get("command", []), *container.get("args", [])]
            assert not any(word.endswith("sh") for word in words)
            for item in container.get("env", []):
                assert "KEY" not in item["name"] or "secretKeyRef" in item["valueFrom"]
