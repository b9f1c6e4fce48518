"""Releases on a real API server: claims, definitions, keys, what stays."""

import json
import time

from llmcloud.api.kinds import KINDS
from tests.chart.releases import PATIENCE_SECONDS, Releases, store, watching


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
