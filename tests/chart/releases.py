"""helm and kubectl on a cluster, and what tests install there."""

import contextlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chart.chart import CHART, Object, Values, helm
from tests.localcluster import Cluster

PATIENCE_SECONDS = 60


class Releases:
    """helm and kubectl on one cluster; `clean` uninstalls everything."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def helm(self, *words: str, values: Values | None = None) -> str:
        return helm(f"--kubeconfig={self._cluster.kubeconfig}", *words, values=values)

    def install(
        self, name: str, namespace: str, values: Values | None = None, chart: Path = CHART
    ) -> str:
        """What the release says when it is installed or upgraded."""
        words = ("upgrade", "--install", name, str(chart), "-n", namespace, "--create-namespace")
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

    def _let_stores_go(self) -> None:
        """No operator is left that would, as the chart's notes say."""
        with contextlib.suppress(subprocess.CalledProcessError):  # there are no definitions
            for left in self.get("objectstores", "-A")["items"]:
                meta = left["metadata"]
                self.kubectl(
                    "patch", "objectstore", meta["name"], "-n", meta["namespace"],
                    "--type=merge", "-p", '{"metadata":{"finalizers":null}}',
                )  # fmt: skip

    def clean(self) -> None:
        for release in json.loads(self.helm("list", "-A", "-a", "-o", "json")):
            self.uninstall(release["name"], release["namespace"])
        self._let_stores_go()
        self.kubectl("delete", "crds", "--all", "--wait=false")
        for attempt in range(PATIENCE_SECONDS):
            if not self.get("crds")["items"]:
                return
            # The API server forgets a definition that goes right after it came, until it changes.
            with contextlib.suppress(subprocess.CalledProcessError):  # one went meanwhile
                self.kubectl("annotate", "crds", "--all", "--overwrite", f"test/again={attempt}")
            time.sleep(1)
        raise AssertionError("the definitions do not go")


def watching(namespace: str) -> dict[str, Any]:
    """Values of a release for one namespace."""
    return {"watchNamespace": namespace}


def store(bucket: str, **spec: Any) -> Object:
    """An ObjectStore named after its bucket."""
    return {
        "apiVersion": "llmcloud.dev/v1alpha1",
        "kind": "ObjectStore",
        "metadata": {"name": bucket},
        "spec": {"provider": "aws", "bucket": bucket, **spec},
    }
