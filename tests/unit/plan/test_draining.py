"""Which replicas go, and how."""

import pytest

from llmcloud.plan.children import PodView
from llmcloud.plan.model import timestamp
from llmcloud.scaling.observation import Decision
from tests.support.worlds import NOW, make_pod
from tests.unit.plan.test_deployment import applied, plan, replica, running

COST = "controller.kubernetes.io/pod-deletion-cost"
LOADS = {"ip-of-a:8000": 2, "ip-of-b:8000": 0, "ip-of-c:8000": 7}
THREE = (replica("a"), replica("b"), replica("c"))
GOES = replica("c", deletionTimestamp=timestamp(NOW))


@pytest.mark.parametrize(
    ("pods", "wanted", "costs"),
    [
        pytest.param(
            THREE, 2, {"a": "2", "b": "0", "c": "7"}, id="the replica with the least work"
        ),
        pytest.param(THREE, 3, {}, id="none if none has to"),
        pytest.param(THREE, 0, {}, id="all, whatever they do"),
        pytest.param((*THREE[:2], make_pod()), 2, {}, id="first those that are not ready"),
        pytest.param((*THREE[:2], GOES), 2, {}, id="and those that go already"),
        pytest.param(
            (replica("a", annotations={COST: "2"}), replica("b", annotations={COST: "9"})), 1,
            {"b": "0"}, id="by its work now, not by that of an earlier time",
        ),
    ],
)  # fmt: skip
def test_who_goes(pods: tuple[PodView, ...], wanted: int, costs: dict[str, str]) -> None:
    decided = Decision(wanted, "the load fits")
    spec = {"scaling": {"maxReplicas": 5}}
    planned = plan(spec=spec, engine=running(3, 3), pods=pods, decided=decided, loads=LOADS)
    marked = applied(planned, "Pod")
    assert {p["metadata"]["name"]: p["metadata"]["annotations"][COST] for p in marked} == costs
    assert all(pod["metadata"]["uid"] == pod["metadata"]["name"] for pod in marked)
    order = [child["kind"] for child in planned.applies]
    assert "Pod" not in order[order.index("Deployment") :], "they are marked before one goes"


def test_no_replica_is_marked_while_the_number_grows() -> None:
    planned = plan(
        spec={"scaling": {"maxReplicas": 5}}, engine=running(3, 3), pods=THREE,
        decided=Decision(4, "9 wait"), loads=LOADS,
    )  # fmt: skip
    assert applied(planned, "Pod") == []


def test_a_replica_that_goes_serves_on_until_gateways_know_and_then_drains() -> None:
    (engine,) = applied(plan(spec={"scaling": {"drainSeconds": 60}}))
    pod = engine["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settle = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = int(container["args"][container["args"].index("--drain-seconds") + 1])
    assert settle > 0
    assert drain == 60
    assert pod["terminationGracePeriodSeconds"] > settle + drain
