"""Releases on a real API server: claims, definitions, keys, what stays."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from llmcloud.api.kinds import KINDS
from tests.chart.chart import CHART, Object, Values, helm
from tests.localcluster import Cluster

PATIENCE_SECONDS = 60


class Releases:
    """helm and kubectl on one cluster; `clean` uninstalls everything."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def helm(self, *words: str, values: Values | None = None) -> str:
        return helm(f"--kubeconfig={self._cluster.kubeconfig}", *words, values=values)

    def install(self, name: str, namespace: str, values: Values | None = None) -> str:
        """What the release says when it is installed or upgraded."""
        words = ("upgrade", "--install", name, str(CHART), "-n", namespace, "--create-namespace")
        return self.helm(*words, values=values or {})

    def refused(self, name: str, namespace: str, values: Values | None = None) -> str:
        """What helm says against it."""
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self.install(name, namespace, values)
        return str(caught.value.stderr)

    def uninstall(self, name: str, namespace: str) -> None:
        self.helm("uninstall", name, "-n", namespace)

    def get(self, *words: str) -> Object:
        found: Object = json.loads(self._cluster.kubectl("get", *words, "-o", "json"))
        return found

    def kubectl(self, *words: str, text: str | None = None) -> str:
        return self._cluster.kubectl(*words, text=text)

    def clean(self) -> None:
        for release in json.loads(self.helm("list", "-A", "-a", "-o", "json")):
            self.uninstall(release["name"], release["namespace"])
        self.kubectl("delete", "crds", "--all", "--wait=false")
        for attempt in range(PATIENCE_SECONDS):
            if not self.get("crds")["items"]:
                return
            # The API server forgets a definition that goes right after it came, until it changes.
            with contextlib.suppress(subprocess.CalledProcessError):  # one went meanwhile
                self.kubectl("annotate", "crds", "--all", "--overwrite", f"test/again={attempt}")
            time.sleep(1)
        raise AssertionError("the definitions do not go")


@pytest.fixture
def releases(cluster: Cluster) -> Iterator[Releases]:
    releases = Releases(cluster)
    existing = {n["metadata"]["name"] for n in releases.get("namespaces")["items"]}
    for name in {"team-a", "team-b"} - existing:
        releases.kubectl("create", "namespace", name)
    yield releases
    releases.clean()


def watching(namespace: str) -> dict[str, Any]:
    return {"watchNamespace": namespace}


def test_a_second_release_for_the_whole_cluster_is_refused(releases: Releases) -> None:
    releases.install("llmcloud", "one")
    said = releases.refused("llmcloud", "two")
    assert "reconciles all namespaces already, by release llmcloud in namespace one" in said
    assert "watchNamespace" in said


def test_a_release_below_one_for_the_whole_cluster_is_refused(releases: Releases) -> None:
    releases.install("llmcloud", "one")
    assert "all namespaces already" in releases.refused("llmcloud", "two", watching("team-a"))


def test_a_release_above_one_for_a_namespace_is_refused(releases: Releases) -> None:
    releases.install("llmcloud", "one", watching("team-a"))
    said = releases.refused("llmcloud", "two")
    assert "namespace team-a is already watched by release llmcloud in namespace one" in said


def test_a_namespace_is_watched_by_one_release(releases: Releases) -> None:
    releases.install("llmcloud", "one", watching("team-a"))
    said = releases.refused("llmcloud", "two", watching("team-a"))
    assert "set watchNamespace to another namespace" in said


def test_two_releases_in_one_namespace_are_refused(releases: Releases) -> None:
    releases.install("llmcloud", "one", watching("team-a"))
    said = releases.refused("second", "one", watching("team-b"))
    assert "namespace one already holds an llmcloud operator, of release llmcloud" in said


def test_two_releases_for_a_namespace_each_work_and_one_owns_the_definitions(
    releases: Releases,
) -> None:
    releases.install("llmcloud", "one", watching("team-a"))
    said = releases.install("llmcloud", "two", watching("team-b"))
    assert "not of this release" in said
    assert "meta.helm.sh/release-namespace=two" in said
    for definition in releases.get("crds")["items"]:
        owner = definition["metadata"]["annotations"]["meta.helm.sh/release-namespace"]
        assert owner == "one"
    releases.install("llmcloud", "two", watching("team-b"))


def test_definitions_can_be_taken_over_as_the_notes_say(releases: Releases) -> None:
    releases.install("llmcloud", "one")
    releases.uninstall("llmcloud", "one")
    said = releases.install("llmcloud", "two")
    for line in said.splitlines():
        if line.startswith("  kubectl annotate crd") or line.startswith("  kubectl label crd"):
            releases.kubectl(*line.split()[1:])
    assert "not of this release" not in releases.install("llmcloud", "two")
    for definition in releases.get("crds")["items"]:
        owner = definition["metadata"]["annotations"]["meta.helm.sh/release-namespace"]
        assert owner == "two"


def test_objects_and_definitions_stay_when_the_release_goes_and_it_comes_back(
    releases: Releases,
) -> None:
    releases.install("llmcloud", "one")
    releases.kubectl("apply", "-n", "team-a", "-f", "-", text=json.dumps(store("kept")))
    releases.uninstall("llmcloud", "one")
    assert releases.get("objectstore", "kept", "-n", "team-a")["spec"]["bucket"] == "kept"
    assert len(releases.get("crds")["items"]) == len(KINDS)
    assert "not of this release" not in releases.install("llmcloud", "one")


def store(bucket: str) -> Object:
    return {
        "apiVersion": "llmcloud.dev/v1alpha1",
        "kind": "ObjectStore",
        "metadata": {"name": bucket},
        "spec": {"provider": "aws", "bucket": bucket},
    }


def test_keys_survive_an_upgrade_and_can_be_copied_as_the_notes_say(releases: Releases) -> None:
    values = {"embeddedStore": {"enabled": True}}
    said = releases.install("llmcloud", "one", values)
    secret = ("secret", "llmcloud-store-keys", "-n", "one")
    keys = releases.get(*secret)["data"]
    releases.install("llmcloud", "one", {**values, "operator": {"workers": 2}})
    assert releases.get(*secret)["data"] == keys
    (line,) = [line for line in said.splitlines() if "get secret" in line]
    template = line.split("-o jsonpath='")[1].split("'")[0]
    copy = releases.kubectl("get", *secret, "-o", f"jsonpath={template}")
    releases.kubectl("apply", "-n", "team-a", "-f", "-", text=copy)
    assert releases.get("secret", "store-keys", "-n", "team-a")["data"] == keys


def test_pods_are_admitted_where_pod_security_restricted_is_enforced(releases: Releases) -> None:
    releases.kubectl("create", "namespace", "strict")
    releases.kubectl(
        "label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted"
    )
    values = {
        "embeddedStore": {"enabled": True, "samples": True, "persistent": True},
        "gateway": {"replicas": 2},
    }
    releases.install("llmcloud", "strict", values)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(pods := releases.get("pods", "-n", "strict")["items"]) < 4:
        events = releases.kubectl("get", "events", "-n", "strict")
        assert "violates PodSecurity" not in events, events
        assert time.monotonic() < deadline, events
        time.sleep(0.5)
    components = sorted(pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods)
    assert components == ["gateway", "gateway", "operator", "store"]
