"""The same targets take a cluster that was there before: KUBECONFIG and REGISTRY name it."""

import os
import subprocess

from tests.localcluster.cluster import Cluster
from tests.support.install import NAMESPACE, ROOT, ensure_images


def test_make_install_takes_the_cluster_and_the_registry_that_it_is_given() -> None:
    ensure_images()
    theirs = Cluster("theirs")
    theirs.up(nodes=2)
    try:
        environment = {
            **os.environ,
            "KUBECONFIG": str(theirs.kubeconfig),
            "REGISTRY": theirs.registry,
        }
        subprocess.run(["make", "install"], cwd=ROOT, env=environment, check=True)
        nodes = theirs.kubectl("get", "nodes", "-o", "name").split()
        assert len(nodes) == 2
        theirs.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
        deployments = theirs.kubectl("-n", NAMESPACE, "get", "deployments", "-o", "name").split()
        for deployment in ("operator", "gateway", "store"):
            assert f"deployment.apps/llmcloud-{deployment}" in deployments
            theirs.kubectl(
                "-n", NAMESPACE, "rollout", "status", f"deployment/llmcloud-{deployment}",
                "--timeout=60s",
            )  # fmt: skip
    finally:
        theirs.down()
