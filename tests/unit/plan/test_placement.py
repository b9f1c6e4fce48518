"""From an accelerator's name and places to node labels, tolerations, devices; and moving on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcloud.api.common import AcceleratedResources, Place
from llmcloud.api.names import Reason
from llmcloud.explain import read_catalogue
from llmcloud.plan.accelerators import Catalogue, NodeLabels
from llmcloud.plan.model import Manifest
from llmcloud.plan.placement import Move, Scheduling, next_move, schedule
from llmcloud.plan.stores import Missing
from tests.support.worlds import at, make_job, unschedulable

VALUES = Path(__file__).parents[3] / "charts" / "llmcloud" / "values.yaml"
CATALOGUE = read_catalogue(VALUES)
H100 = AcceleratedResources(accelerator="nvidia-h100", count=8)
CPUS = AcceleratedResources()
ANYWHERE, SPOT, ON_DEMAND = Place(), Place(capacity="Spot"), Place(capacity="OnDemand")

INSTANCE = "node.kubernetes.io/instance-type"
EKS = {"eks.amazonaws.com/nodegroup": "g", INSTANCE: "m7i.large"}
KARPENTER = {"karpenter.sh/nodepool": "p", INSTANCE: "m7i.large"}
GKE = {"cloud.google.com/gke-nodepool": "p"}
AKS = {"kubernetes.azure.com/agentpool": "p", INSTANCE: "Standard_D4s_v5"}


def found(place: Place, *nodes: dict[str, str], resources: Any = H100) -> Scheduling:
    return found_in([place], *nodes, resources=resources)


def found_in(placement: list[Place], *nodes: dict[str, str], resources: Any = H100) -> Scheduling:
    scheduling = schedule(resources, placement, CATALOGUE, nodes)
    assert isinstance(scheduling, Scheduling), scheduling
    return scheduling


def missing(place: Place, nodes: NodeLabels | None, resources: Any = H100) -> Missing:
    scheduling = schedule(resources, [place], CATALOGUE, nodes)
    assert isinstance(scheduling, Missing)
    return scheduling


def labels_of(scheduling: Scheduling) -> dict[str, tuple[str, list[str]]]:
    (place,) = scheduling.places
    return {e["key"]: (e["operator"], e["values"]) for e in place}


@pytest.mark.parametrize(
    ("node", "label", "values"),
    [
        pytest.param(EKS | {INSTANCE: "p5.48xlarge"}, INSTANCE, ["p5.48xlarge", "p5.4xlarge"],
                     id="by EKS's instance type"),
        pytest.param(KARPENTER | {"karpenter.k8s.aws/instance-gpu-name": "h100"},
                     "karpenter.k8s.aws/instance-gpu-name", ["h100"], id="by Karpenter's label"),
        pytest.param(GKE | {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
                     "cloud.google.com/gke-accelerator",
                     ["nvidia-h100-80gb", "nvidia-h100-mega-80gb"], id="by GKE's label"),
        pytest.param(AKS | {INSTANCE: "Standard_ND96isr_H100_v5"}, INSTANCE,
                     ["Standard_ND96isr_H100_v5", "Standard_NC40ads_H100_v5",
                      "Standard_NC80adis_H100_v5"], id="by AKS's instance type"),
        pytest.param({"nvidia.com/gpu.product": "NVIDIA-H100-PCIe"}, "nvidia.com/gpu.product",
                     ["NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe", "NVIDIA-H100-NVL"],
                     id="by what the device plugin found"),
    ],
)  # fmt: skip
def test_an_accelerator_is_found(node: dict[str, str], label: str, values: list[str]) -> None:
    scheduling = found(ANYWHERE, {}, node)
    assert labels_of(scheduling) == {label: ("In", values)}
    assert scheduling.devices == {"nvidia.com/gpu": "8"}


@pytest.mark.parametrize("platform", [EKS, KARPENTER, GKE, AKS], ids=["eks", "kp", "gke", "aks"])
def test_a_platform_without_such_a_node_may_still_bring_one(platform: dict[str, str]) -> None:
    assert found(ANYWHERE, platform).devices == {"nvidia.com/gpu": "8"}


def test_a_node_that_is_there_comes_before_one_that_may_come() -> None:
    there = EKS | {INSTANCE: "p5.48xlarge"}
    assert list(labels_of(found(ANYWHERE, KARPENTER, there))) == [INSTANCE]


@pytest.mark.parametrize(
    ("node", "label", "value"),
    [
        pytest.param(EKS, "eks.amazonaws.com/capacityType", "SPOT", id="eks"),
        pytest.param(KARPENTER, "karpenter.sh/capacity-type", "spot", id="karpenter"),
        pytest.param(GKE, "cloud.google.com/gke-spot", "true", id="gke"),
        pytest.param(AKS, "kubernetes.azure.com/scalesetpriority", "spot", id="aks"),
    ],
)
def test_spot_and_on_demand_by_the_platforms_own_label(
    node: dict[str, str], label: str, value: str
) -> None:
    assert labels_of(found(SPOT, node))[label] == ("In", [value])
    assert labels_of(found(ON_DEMAND, node))[label] == ("NotIn", [value])
    assert labels_of(found(SPOT, node, resources=CPUS)) == {label: ("In", [value])}


@pytest.mark.parametrize(
    ("node", "spot", "taints"),
    [
        pytest.param(EKS, True, {"nvidia.com/gpu"}, id="eks"),
        pytest.param(GKE, False, {"nvidia.com/gpu"}, id="gke"),
        pytest.param(GKE, True, {"nvidia.com/gpu", "cloud.google.com/gke-spot"}, id="gke spot"),
        pytest.param(AKS, False, {"nvidia.com/gpu", "sku"}, id="aks"),
        pytest.param(
            AKS, True, {"nvidia.com/gpu", "sku", "kubernetes.azure.com/scalesetpriority"},
            id="aks spot",
        ),
    ],
)  # fmt: skip
def test_what_is_tolerated(node: dict[str, str], spot: bool, taints: set[str]) -> None:
    scheduling = found(SPOT if spot else ON_DEMAND, node)
    assert {toleration["key"] for toleration in scheduling.tolerations} == taints


def test_a_place_names_region_zone_and_labels() -> None:
    place = Place(region="eu", zone="eu-a", node_selector={"pool": "blue"})
    assert labels_of(found(place, resources=CPUS)) == {
        "topology.kubernetes.io/region": ("In", ["eu"]),
        "topology.kubernetes.io/zone": ("In", ["eu-a"]),
        "pool": ("In", ["blue"]),
    }


def test_cpus_anywhere_ask_for_nothing() -> None:
    scheduling = found(ANYWHERE, resources=CPUS)
    assert (scheduling.affinity, scheduling.devices, scheduling.tolerations) == (None, {}, ())


def test_without_a_known_platform_every_node_is_on_demand() -> None:
    assert found(ON_DEMAND, {}, resources=CPUS).affinity is None


@pytest.mark.parametrize(
    ("place", "nodes", "resources", "reason", "words", "stalled"),
    [
        pytest.param(ANYWHERE, (EKS,), AcceleratedResources(accelerator="tpu"),
                     Reason.ACCELERATOR_UNKNOWN, "nvidia-h100", True, id="an unknown name"),
        pytest.param(ANYWHERE, ({},), H100, Reason.ACCELERATOR_NOT_FOUND, "p5.48xlarge", False,
                     id="no node and no platform"),
        pytest.param(ANYWHERE, None, H100, Reason.ACCELERATOR_NOT_FOUND,
                     "set the chart's value platform", False, id="nodes may not be listed"),
        pytest.param(SPOT, ({},), CPUS, Reason.CAPACITY_UNKNOWN, "nodeSelector", True,
                     id="spot on an unknown platform"),
        pytest.param(SPOT, (EKS, {"nvidia.com/gpu.product": "NVIDIA-B300"}),
                     AcceleratedResources(accelerator="nvidia-a10g", count=1), None, "", False,
                     id="spot of a platform"),
    ],
)  # fmt: skip
def test_what_cannot_be_placed_says_why(
    place: Place, nodes: Any, resources: Any, reason: Reason | None, words: str, stalled: bool
) -> None:
    if reason is None:
        assert isinstance(schedule(resources, [place], CATALOGUE, nodes), Scheduling)
        return
    said = missing(place, nodes, resources)
    assert (said.reason, said.stalled) == (reason, stalled)
    assert words in said.message


def test_a_named_platform_needs_no_nodes() -> None:
    values = yaml.safe_load(VALUES.read_text())
    members = {"platforms": values["platforms"], "accelerators": values["accelerators"]}
    catalogue = Catalogue.model_validate({"platform": "gke", **members})
    scheduling = schedule(H100, [SPOT], catalogue, None)
    assert isinstance(scheduling, Scheduling)
    assert "cloud.google.com/gke-accelerator" in labels_of(scheduling)


def test_every_pool_of_the_charts_catalogue_is_of_a_platform_it_has() -> None:
    named = {p.platform for each in CATALOGUE.accelerators.values() for p in each.pools}
    assert named - {""} <= set(CATALOGUE.platforms)
    required = {"nvidia-h200", "nvidia-h100", "nvidia-a100-80gb", "nvidia-a100-40gb", "nvidia-l40s",
                "nvidia-l4", "nvidia-t4"}  # fmt: skip
    assert required <= set(CATALOGUE.accelerators)


def test_every_peak_is_of_a_precision_that_is_trained_in_and_says_its_source() -> None:
    precisions = {"bfloat16", "float32"}
    for name, each in CATALOGUE.accelerators.items():
        assert set(each.peak_teraflops) <= precisions, name
        assert bool(each.peak_teraflops) is each.peak_source.startswith("https://"), name


def test_the_peak_goes_with_the_accelerator() -> None:
    scheduling = schedule(H100, [], CATALOGUE, ({"nvidia.com/gpu.product": "NVIDIA-H100-NVL"},))
    assert isinstance(scheduling, Scheduling)
    assert scheduling.peak_teraflops == {"bfloat16": 989, "float32": 67}
    on_cpus = schedule(AcceleratedResources(), [], CATALOGUE, ())
    assert isinstance(on_cpus, Scheduling)
    assert on_cpus.peak_teraflops == {}


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def matches(term: Manifest, node: dict[str, str]) -> bool:
    """Whether Kubernetes holds a node with these labels to match. An empty term matches none."""
    expressions = term["matchExpressions"]
    return bool(expressions) and all(
        (node.get(e["key"]) in e["values"]) is (e["operator"] == "In") for e in expressions
    )


def score(scheduling: Scheduling, node: dict[str, str]) -> int | None:
    """What the affinity gives a node; None where the pod may not run."""
    affinity = (scheduling.affinity or {}).get("nodeAffinity", {})
    if REQUIRED in affinity:
        terms = affinity[REQUIRED]["nodeSelectorTerms"]
        if not any(matches(term, node) for term in terms):
            return None
    preferred = affinity.get(PREFERRED, [])
    weights: list[int] = [one["weight"] for one in preferred if matches(one["preference"], node)]
    return sum(weights)


SPOT_NODE = GKE | {"cloud.google.com/gke-spot": "true"}


def test_pods_run_in_any_place_and_by_preference_in_an_earlier_one() -> None:
    placement = [SPOT, Place(zone="a", capacity="OnDemand"), Place(region="eu")]
    scheduling = found_in(placement, GKE, resources=CPUS)
    zone = {"topology.kubernetes.io/zone": "a"}
    region = {"topology.kubernetes.io/region": "eu"}
    assert score(scheduling, SPOT_NODE) == 64
    assert score(scheduling, GKE | zone) == 32
    assert score(scheduling, GKE | region) == 0
    assert score(scheduling, GKE) is None


def test_an_earlier_place_outweighs_all_later_ones_together() -> None:
    placement = [Place(node_selector={f"place-{index}": "yes"}) for index in range(8)]
    scheduling = found_in(placement, resources=CPUS)
    assert scheduling.affinity is not None
    weights = [one["weight"] for one in scheduling.affinity["nodeAffinity"][PREFERRED]]
    assert weights == [64, 32, 16, 8, 4, 2, 1]
    for index in range(7):
        later = score(scheduling, {f"place-{n}": "yes" for n in range(index + 1, 8)})
        assert later is not None
        assert score(scheduling, {f"place-{index}": "yes"}) == later + 1


def test_one_place_is_required_and_nothing_preferred() -> None:
    affinity = found(SPOT, GKE).affinity
    assert affinity is not None
    assert list(affinity["nodeAffinity"]) == [REQUIRED]


def test_after_a_place_that_is_everywhere_comes_no_other() -> None:
    placement = [SPOT, ANYWHERE, Place(zone="a")]
    scheduling = found_in(placement, GKE, resources=CPUS)
    assert score(scheduling, SPOT_NODE) == 64
    assert score(scheduling, GKE) == score(scheduling, {"topology.kubernetes.io/zone": "a"}) == 0
    assert found_in([ANYWHERE, SPOT], GKE, resources=CPUS).affinity is None


def test_the_accelerator_is_wanted_in_every_place() -> None:
    scheduling = found_in([SPOT, Place(zone="a")], GKE)
    wanted = {"cloud.google.com/gke-accelerator"}
    assert all(wanted <= {e["key"] for e in place} for place in scheduling.places)
    assert scheduling.devices == {"nvidia.com/gpu": "8"}


@pytest.mark.parametrize(
    ("placement", "taints"),
    [
        pytest.param([ON_DEMAND, Place(zone="a")], ["nvidia.com/gpu"], id="no spot"),
        pytest.param(
            [ON_DEMAND, Place(zone="a", capacity="Spot"), SPOT],
            ["nvidia.com/gpu", "cloud.google.com/gke-spot"], id="spot in two places",
        ),
    ],
)  # fmt: skip
def test_what_any_place_needs_is_tolerated_once(placement: list[Place], taints: list[str]) -> None:
    tolerations = found_in(placement, GKE).tolerations
    assert [toleration["key"] for toleration in tolerations] == taints


def test_one_place_that_is_not_known_refuses_all() -> None:
    said = schedule(CPUS, [Place(zone="a"), SPOT], CATALOGUE, ({},))
    assert isinstance(said, Missing)
    assert said.reason is Reason.CAPACITY_UNKNOWN


NO_NODES = unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
THREE = [
    Place(capacity="Spot", wait_seconds=100),
    Place(zone="a"),
    Place(capacity="OnDemand"),
]


@pytest.mark.parametrize(
    ("current", "seconds", "move"),
    [
        pytest.param(0, 40, Move(1, 60), id="it waits as long as the place says"),
        pytest.param(0, 100, Move(1, 0), id="then it goes on"),
        pytest.param(1, 599, Move(2, 1), id="ten minutes by default"),
        pytest.param(2, 10**6, None, id="and in the last without end"),
        pytest.param(7, 10**6, None, id="a place that is not there any more"),
    ],
)
def test_where_a_job_without_nodes_goes(current: int, seconds: float, move: Move | None) -> None:
    job = make_job(place=current, phase="Pending", pod=NO_NODES)
    assert next_move(THREE, job, at(seconds)) == move


def test_after_a_last_place_that_does_not_wait_for_ever_comes_the_first() -> None:
    job = make_job(place=1, phase="Pending", pod=NO_NODES)
    places = [Place(zone="a"), Place(zone="b", wait_seconds=60)]
    assert next_move(places, job, at(60)) == Move(0, 0)


@pytest.mark.parametrize("pod", [{}, {"phase": "Running"}])
def test_a_job_whose_pods_have_nodes_stays(pod: Manifest) -> None:
    job = make_job(phase=pod.get("phase", "Pending"))
    assert next_move(THREE, job, at(10**6)) is None
    assert next_move(THREE, None, at(10**6)) is None
