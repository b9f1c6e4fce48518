"""The golden manifests are what Kubernetes takes: by its schemas, and by its API server."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.localcluster import ensure_tool
from tests.support.kube import Kube, Object
from tests.support.schemas import write_schemas

ELSEWHERE = ("serviceAccountName", "priorityClassName")
GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "expected").glob("*.yaml"))


def applied(file: Path) -> list[Object]:
    """All objects that the plans of a golden file apply."""
    return [
        manifest
        for document in yaml.safe_load_all(file.read_text())
        for manifest in document["plan"]["applies"]
    ]


def conform(manifests: list[Object], location: str) -> list[Object]:
    """What kubeconform finds wrong, with unknown members as errors."""
    command = [str(ensure_tool("kubeconform")), "-strict", "-output", "json"]
    done = subprocess.run(
        [*command, "-schema-location", location, "-"],
        check=False,
        capture_output=True,
        text=True,
        input=yaml.safe_dump_all(manifests),
    )
    found: list[Object] = json.loads(done.stdout)["resources"]
    assert (done.returncode == 0) == (not found), done.stderr
    return found


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_schemas(tmp_path_factory.mktemp("schemas"))


def test_every_golden_manifest_passes_kubeconform(location: str) -> None:
    manifests = [manifest for file in GOLDEN for manifest in applied(file)]
    assert len(manifests) > 20
    assert conform(manifests, location) == []


def test_kubeconform_would_find_a_wrong_manifest(location: str) -> None:
    job = next(m for file in GOLDEN for m in applied(file) if m["kind"] == "Job")
    job["spec"]["template"]["spec"]["tolerations"] = [{"key": "a", "unheardOf": 1}]
    (found,) = conform([job], location)
    assert found["status"] == "statusInvalid"


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_the_api_server_takes(kube: Kube, file: Path) -> None:
    kube.namespace("golden")
    for manifest in applied(file):
        manifest["metadata"]["namespace"] = "golden"
        strict = {"dryRun": "All", "fieldValidation": "Strict"}
        assert kube.apply(manifest, **strict)["metadata"]["name"] == manifest["metadata"]["name"]
        if "template" not in manifest["spec"]:
            continue
        template = manifest["spec"]["template"]
        meta = {**template["metadata"], "name": "pod", "namespace": "golden"}
        # What these name does not exist here.
        spec = {k: v for k, v in template["spec"].items() if k not in ELSEWHERE}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        assert kube.apply(pod, **strict)["metadata"]["name"] == "pod"
