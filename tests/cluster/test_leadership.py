"""Two operators, one leader; a killed leader is followed, a restarted one goes on at once."""

from pathlib import Path

from tests.localcluster.cluster import Cluster
from tests.support.kube import Kube
from tests.support.operator import OperatorProcess


def test_a_standby_takes_over_after_the_leader_was_killed(
    api_cluster: Cluster, kube: Kube, tmp_path: Path
) -> None:
    kube.namespace("leaders")
    overrides = {"watchNamespace": "leaders"}

    def process(identity: str) -> OperatorProcess:
        return OperatorProcess(
            api_cluster.kubeconfig, tmp_path, "leaders", identity, dict(overrides)
        )

    first, second = process("first"), process("second")
    try:
        first.start()
        first.await_lead(120)
        second.start()
        assert not second.leads()
        first.kill()
        second.await_lead(120)
        lease = kube.get("Lease", "leaders", "llmcloud-operator")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "second"
        second.kill()
        second.start()
        second.await_lead(60)
        second.stop()
        released = kube.get("Lease", "leaders", "llmcloud-operator")
        assert released is not None
        assert released["spec"]["holderIdentity"] == ""
    finally:
        first.stop()
        second.stop()
