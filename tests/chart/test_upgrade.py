"""From an older release to this one, and releases side by side, with operators that run."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.chart.chart import CHART
from tests.chart.releases import Releases, store, watching
from tests.localcluster import Cluster
from tests.support.audit import requests
from tests.support.install import operator_kubeconfig, settings_of
from tests.support.kube import Kube, Object, condition
from tests.support.operator import OperatorProcess
from tests.support.waiting import wait_for


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """This chart as it may once have been: without `caBundle`, and stores without `region`."""
    chart = tmp_path / "older"
    shutil.copytree(CHART, chart)
    meta = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**meta, "version": "0.0.1"}))
    values = yaml.safe_load((chart / "values.yaml").read_text())
    del values["caBundle"]
    (chart / "values.yaml").write_text(yaml.safe_dump(values))
    file = chart / "crd-files" / "objectstores.llmcloud.dev.yaml"
    definition = yaml.safe_load(file.read_text())
    specification = specification_of(definition)
    del specification["properties"]["region"]
    rules = specification["x-kubernetes-validations"]
    specification["x-kubernetes-validations"] = [r for r in rules if "region" not in r["rule"]]
    file.write_text(yaml.safe_dump(definition))
    return chart


def specification_of(definition: Object) -> Object:
    """The schema of the specification of a definition's objects."""
    (version,) = definition["spec"]["versions"]
    found: Object = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def apply(releases: Releases, namespace: str, manifest: Object) -> None:
    releases.kubectl("apply", "-n", namespace, "-f", "-", text=json.dumps(manifest))


@pytest.mark.parametrize("again", ["--values", "--reset-then-reuse-values", "--reuse-values"])
def test_an_upgrade_keeps_objects_and_brings_new_members(
    releases: Releases, older: Path, again: str
) -> None:
    mine = {"operator": {"workers": 3}}
    releases.install("llmcloud", "one", mine, older)
    definition = releases.get("crd", "objectstores.llmcloud.dev")
    assert "region" not in specification_of(definition)["properties"]
    apply(releases, "team-a", store("kept"))
    before = releases.get("objectstore", "kept", "-n", "team-a")
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        apply(releases, "team-a", store("new", region="eu-west-1"))
    assert "region" in str(refusal.value.stderr)
    if again == "--values":
        releases.install("llmcloud", "one", mine)
    else:
        releases.helm("upgrade", "llmcloud", str(CHART), "-n", "one", again)
    after = releases.get("objectstore", "kept", "-n", "team-a")
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    apply(releases, "team-a", store("new", region="eu-west-1"))
    settings = releases.get("configmap", "llmcloud-operator", "-n", "one")["data"]["settings.yaml"]
    assert yaml.safe_load(settings)["workers"] == 3
    assert yaml.safe_load(settings)["authorities"] == ""


@contextmanager
def operator_of(cluster: Cluster, namespace: str, folder: Path) -> Iterator[OperatorProcess]:
    """The operator of the release in a namespace, with its settings and its rights."""
    kubeconfig = operator_kubeconfig(cluster, folder / namespace, namespace)
    operator = OperatorProcess(
        kubeconfig, folder / namespace, namespace, namespace, settings_of(cluster, namespace)
    )
    try:
        operator.start()
        operator.await_lead(60)
        yield operator
    finally:
        operator.stop()


def test_two_operators_each_keep_to_their_namespace_and_go_one_by_one(
    releases: Releases, cluster: Cluster, tmp_path: Path
) -> None:
    kube = Kube(cluster.kubeconfig)
    kube.namespace("team-c")

    def is_told(namespace: str, name: str) -> bool:
        return bool(condition(kube.get("ObjectStore", namespace, name))["status"] != "Unknown")

    def has_job(namespace: str, name: str) -> bool:
        return kube.get("Job", namespace, f"{name}-store-a1") is not None

    releases.install("llmcloud", "one", watching("team-a"))
    releases.install("llmcloud", "two", watching("team-b"))
    with ExitStack() as stack:
        first = stack.enter_context(operator_of(cluster, "one", tmp_path))
        stack.enter_context(operator_of(cluster, "two", tmp_path))
        for namespace in ("team-c", "team-a", "team-b"):
            apply(releases, namespace, store("mine", create=True, reclaimPolicy="Delete"))
        for namespace in ("team-a", "team-b"):
            wait_for(f"the Job in {namespace}", partial(has_job, namespace, "mine"), bool, 60)
        assert not has_job("team-c", "mine")
        assert not is_told("team-c", "mine")

        first.stop()
        releases.uninstall("llmcloud", "one")
        assert is_told("team-a", "mine")
        releases.kubectl("delete", "objectstore", "mine", "-n", "team-a", "--wait=false")
        apply(releases, "team-b", store("later"))
        wait_for("the other goes on", lambda: has_job("team-b", "later"), bool, 60)
        waiting = releases.get("objectstore", "mine", "-n", "team-a")["metadata"]
        assert waiting["finalizers"]

        releases.install("llmcloud", "one", watching("team-a"))
        stack.enter_context(operator_of(cluster, "one", tmp_path))
        releases.kubectl(
            "annotate", "objectstore", "mine", "-n", "team-a", "llmcloud.dev/skip-cleanup=true"
        )
        wait_for("it goes", lambda: kube.get("ObjectStore", "team-a", "mine"), lambda o: o is None)
    for own, other in (("one", "team-b"), ("two", "team-a")):
        user = f"system:serviceaccount:{own}:llmcloud-operator"
        asked = [one for one in requests(cluster.audit_log) if one.user == user]
        assert asked
        assert [one for one in asked if one.decision != "allow"] == []
        assert [one for one in asked if one.namespace in (other, "team-c")] == []
