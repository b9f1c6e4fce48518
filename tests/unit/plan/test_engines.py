"""Which engine runs a model, and what is refused instead of started in vain."""

from dataclasses import replace
from typing import Any

import pytest

from llmcloud.api.contract import ModelKind
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.model import TaskName
from llmcloud.api.names import LABEL_REVISION, Kind, Reason
from llmcloud.plan.accelerators import Accelerator, Catalogue, Pool
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld
from llmcloud.plan.engines import Chosen, choose_engine
from llmcloud.plan.model import Manifest, Plan
from llmcloud.plan.stores import Missing
from tests.support.worlds import DEFAULTS, NOW, complete_training, make_owner, ready_store, said

L4 = {"accelerator": "nvidia-l4"}
NODES = ({"gpu": "l4"},)
CATALOGUE = Catalogue(accelerators={"nvidia-l4": Accelerator(pools=[Pool(labels={"gpu": ["l4"]})])})


def chosen(
    resources: Manifest,
    engine: Manifest | None = None,
    task: TaskName | None = "causal-lm",
    kind: ModelKind = "full",
) -> Chosen | Missing:
    model = {"trainingJob": {"name": "train"}}
    spec = {"model": model, "resources": resources, "engine": engine or {}}
    return choose_engine("it", LLMDeploymentSpec.model_validate(spec), task, kind, CATALOGUE, NODES)


@pytest.mark.parametrize(
    ("resources", "task", "program"),
    [
        pytest.param({}, "causal-lm", "transformers", id="text, on CPUs"),
        pytest.param(L4, "causal-lm", "vllm", id="text, on an accelerator"),
        pytest.param(L4, None, "vllm", id="a model from a store, on an accelerator"),
        pytest.param(L4, "masked-lm", "transformers", id="embeddings"),
        pytest.param(L4, "sequence-classification", "transformers", id="labels"),
        pytest.param(L4, "token-classification", "transformers", id="labels of tokens"),
    ],
)
def test_auto_goes_by_the_accelerator_and_the_task(
    resources: Manifest, task: TaskName | None, program: str
) -> None:
    engine = chosen(resources, task=task)
    assert isinstance(engine, Chosen)
    assert engine.program == program


def test_who_names_an_engine_gets_it() -> None:
    custom = {"name": "custom", "image": "registry/own:1"}
    for engine in ({"name": "transformers"}, {"name": "vllm"}, custom):
        found = chosen(L4, engine, task="sequence-classification")
        assert isinstance(found, Chosen)
        assert found.program == engine["name"]
        assert found.scheduling.devices == {"nvidia.com/gpu": "1"}


@pytest.mark.parametrize(
    ("members", "reason", "words"),
    [
        pytest.param(
            {"resources": {}, "engine": {"name": "vllm"}},
            Reason.SPEC_INVALID, "set spec.resources.accelerator", id="vllm on CPUs",
        ),
        pytest.param(
            {"resources": {}, "engine": {"name": "custom"}},
            Reason.SPEC_INVALID, "needs an image", id="custom without an image",
        ),
        pytest.param(
            {"resources": {**L4, "count": 2}, "engine": {"name": "transformers"}},
            Reason.SPEC_INVALID, "uses one accelerator", id="transformers on two accelerators",
        ),
        pytest.param(
            {"resources": {**L4, "count": 2}, "task": "masked-lm"},
            Reason.SPEC_INVALID, "uses one accelerator", id="embeddings on two accelerators",
        ),
        pytest.param(
            {"resources": {}, "kind": "adapter"},
            Reason.MODEL_UNSUITABLE, "is an adapter", id="an adapter as a model",
        ),
        pytest.param(
            {"resources": {}, "kind": "report"},
            Reason.MODEL_UNSUITABLE, "a report without a model", id="the job of an evaluation",
        ),
        pytest.param(
            {"resources": L4, "task": "seq2seq"},
            Reason.MODEL_UNSUITABLE, "bring an image", id="a task that none serves",
        ),
        pytest.param(
            {"resources": {"accelerator": "nvidia-l5"}},
            Reason.ACCELERATOR_UNKNOWN, "is not in the catalogue", id="an unknown accelerator",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_waits_for_another_specification(
    members: dict[str, Any], reason: Reason, words: str
) -> None:
    refusal = chosen(**members)
    assert isinstance(refusal, Missing)
    assert (refusal.reason, refusal.stalled) == (reason, True)
    assert words in refusal.message


def planned(**spec: Any) -> Plan:
    owner = make_owner(Kind.DEPLOYMENT, spec={"resources": L4, **spec})
    world = DeploymentWorld(owner, complete_training(), ready_store(), (), (), NOW, nodes=NODES)
    return plan_deployment(world, replace(DEFAULTS, catalogue=CATALOGUE))


def planned_engine(**spec: Any) -> Manifest:
    """The planned Deployment."""
    (child,) = [c for c in planned(**spec).applies if c["kind"] == "Deployment"]
    return child


def engine_pod(**spec: Any) -> Manifest:
    """The pod of the planned Deployment."""
    pod: Manifest = planned_engine(**spec)["spec"]["template"]["spec"]
    return pod


def revision(placement: list[Manifest]) -> str:
    found: str = planned_engine(placement=placement)["metadata"]["labels"][LABEL_REVISION]
    return found


def test_replicas_run_in_the_places_of_the_specification() -> None:
    pod = engine_pod(placement=[{"zone": "a"}, {"zone": "b"}])
    affinity = pod["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    gpu = {"key": "gpu", "operator": "In", "values": ["l4"]}
    zone = {"key": "topology.kubernetes.io/zone", "operator": "In"}
    assert [term["matchExpressions"] for term in terms] == [
        [{**zone, "values": [each]}, gpu] for each in "ab"
    ]
    (preferred,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["preference"] == terms[0]


def test_another_placement_is_another_revision() -> None:
    everywhere, a, b = revision([]), {"zone": "a"}, {"zone": "b"}
    orders = [everywhere, revision([a]), revision([a, b]), revision([b, a])]
    assert len(set(orders)) == 4
    assert revision([{}]) == everywhere


def test_a_place_that_is_not_known_is_told_in_the_status() -> None:
    refused = planned(placement=[{"zone": "a"}, {"capacity": "Spot"}])
    assert said(refused.status) == ("False", Reason.CAPACITY_UNKNOWN)
    assert refused.applies == ()


def test_beside_vllm_stays_a_sidecar_whose_word_makes_the_replica_ready() -> None:
    pod = engine_pod()
    fetch, sidecar = pod["initContainers"]
    (engine,) = pod["containers"]
    assert "restartPolicy" not in fetch
    assert sidecar["restartPolicy"] == "Always"
    assert engine["image"] == DEFAULTS.vllm_image
    reported = sidecar["ports"][0]["containerPort"]
    assert engine["readinessProbe"]["httpGet"] == {"path": "/ready", "port": reported}


def test_an_own_image_is_probed_where_it_says() -> None:
    image = {"name": "custom", "image": "i", "port": 8081, "healthPath": "/up", "args": ["-v"]}
    (engine,) = engine_pod(engine=image)["containers"]
    assert "command" not in engine
    assert (engine["image"], engine["args"]) == ("i", ["-v"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert engine[probe]["httpGet"] == {"path": "/up", "port": 8081}


def test_an_adapter_is_refused_with_the_remedy_in_the_status() -> None:
    job = complete_training()
    job.status["model"]["kind"] = "adapter"
    owner = make_owner(Kind.DEPLOYMENT)
    world = DeploymentWorld(owner, job, ready_store(), (), (), NOW)
    refused = plan_deployment(world, DEFAULTS)
    assert refused.applies == ()
    assert said(refused.status) == ("False", Reason.MODEL_UNSUITABLE)
