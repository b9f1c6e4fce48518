"""The chart as its users meet it: through the helm program."""

import json
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.localcluster import ensure_tool

CHART = Path(__file__).resolve().parents[2] / "charts" / "llmcloud"
RELEASE = "llmcloud"
NAMESPACE = "llmcloud-system"
KUBERNETES = "1.33.0"
"""The oldest that the chart accepts; without a cluster helm assumes one of its own choice."""

Object = dict[str, Any]
Values = Mapping[str, Any]

AUTHORITY = """-----BEGIN CERTIFICATE-----
MIIBezCCASGgAwIBAgIUIdO4dYgOE7uLeo48agagrnyzuQswCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHZXhhbXBsZTAgFw0yNjExMjUxNzA0NDdaGA8yMTI2MTEwMTE3
MDQ0N1owEjEQMA4GA1UEAwwHZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABJniHz/mRSf1quOeNICpnF2zh7AW/+GFY0xoh7zOFWB8ZYAsKTI7wruDBosf
nf1bZ+bFQBkE/VkHSatXMfzVk3SjUzBRMB0GA1UdDgQWBBQCbhFUVTwL2VtO8F9H
iV2KVmXh1DAfBgNVHSMEGDAWgBQCbhFUVTwL2VtO8F9HiV2KVmXh1DAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIH5ermNW1/gOO6VaMq28X7THJPxm
UKihvknagq0dgkL/AiEA9LE1BSnUUosu4PEy07CWzVrCcL5nwd9digA6QsKftkw=
-----END CERTIFICATE-----
"""
EVERY_OPTION: Values = {
    "images": {
        "registry": "registry.example.com:5000",
        "pullPolicy": "Always",
        "operator": {"repository": "team/operator", "tag": "v9"},
        "runtime": {"digest": f"sha256:{'ab' * 32}"},
    },
    "imagePullSecrets": ["pull-one", "pull-two"],
    "operator": {
        "workers": 3,
        "resyncSeconds": 60,
        "storeCheckSeconds": 30,
        "logLevel": "DEBUG",
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
    },
    "gateway": {
        "replicas": 3,
        "drainSeconds": 60,
        "service": {"type": "LoadBalancer", "annotations": {"example.com/zone": "a"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "llm.example.com",
            "tlsSecretName": "llm-tls",
            "annotations": {"example.com/body-size": "8m"},
        },
    },
    "embeddedStore": {
        "enabled": True,
        "samples": True,
        "persistent": True,
        "storageClassName": "fast",
        "size": "5Gi",
    },
    "caBundle": AUTHORITY,
    "proxy": {"http": "http://proxy:3128", "https": "http://proxy:3128", "noProxy": ".internal"},
    "hubMirror": "https://hub.example.com",
    "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    "nodeSelector": {"pool": "system"},
}


def helm(*words: str, values: Values | None = None) -> str:
    """The output of helm. Raises subprocess.CalledProcessError with its `stderr`."""
    command = [str(ensure_tool("helm")), *words]
    if values is not None:
        command += ["--values", "-"]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, input=json.dumps(values or {})
    ).stdout


def render(
    values: Values | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[Object]:
    """The objects of the chart, without a cluster."""
    text = _template(release, namespace, json.dumps(values or {}))
    return [document for document in yaml.load_all(text, Yaml12Loader) if document]


@cache
def _template(release: str, namespace: str, values: str) -> str:
    place = ("--namespace", namespace, "--kube-version", KUBERNETES)
    return helm("template", release, str(CHART), *place, values=json.loads(values))


class Yaml12Loader(yaml.SafeLoader):
    """Reads 1e-08, as Go writes it, as the number that Kubernetes sees."""


Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def refusal(values: Values) -> str:
    """What helm says against values that it must refuse."""
    try:
        render(values)
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    raise AssertionError(f"helm accepted {values}")


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of that kind and name."""
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def names(objects: list[Object], kind: str) -> set[str]:
    """The names of the objects of that kind."""
    return {o["metadata"]["name"] for o in objects if o["kind"] == kind}


def pod_specs(objects: list[Object]) -> dict[str, Object]:
    """The pod specification of every Deployment, by name."""
    return {
        o["metadata"]["name"]: o["spec"]["template"]["spec"]
        for o in objects
        if o["kind"] == "Deployment"
    }
