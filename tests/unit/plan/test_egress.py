"""Models that others serve: the pod with the key, who may call it, what is told."""

import json
from dataclasses import replace
from typing import Any

import pytest

from llmcloud.api.external import EgressTask
from llmcloud.api.names import Kind, Reason
from llmcloud.plan.children import PodView, pod_view
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld, EngineView
from llmcloud.plan.model import Manifest, ObjectRef, Owner, Plan
from llmcloud.plan.routes import RoutesWorld, route_list
from tests.support.worlds import (
    DEFAULTS,
    MODEL_DIGEST,
    NOW,
    by_type,
    complete_training,
    make_owner,
    make_pod,
    ready_store,
    said,
    unschedulable,
    waiting,
)

KEY = {"name": "keys", "key": "openai"}
OPENAI: Manifest = {"provider": "openai", "model": "gpt", "apiKeySecretRef": KEY}
FALLBACK = {"fallback": {"external": OPENAI, "when": ["coldStart"]}}
REF = ObjectRef("apps/v1", "Deployment", "ns", "it-engine", "uid")


def owner(**members: Any) -> Owner:
    """An LLMDeployment of OPENAI; with `fallback`, of its own model."""
    spec = {"external": OPENAI, **members}
    made = make_owner(Kind.DEPLOYMENT, spec=spec)
    unwanted = "external" if "fallback" in members else "model"
    return replace(made, spec={k: v for k, v in made.spec.items() if k != unwanted})


def plan(of: Owner | None = None, **members: Any) -> Plan:
    world = DeploymentWorld(of or owner(), complete_training(), ready_store(), (), (), NOW)
    defaults = replace(DEFAULTS, allowed_networks=("10.20.0.0/16",))
    return plan_deployment(replace(world, **members), defaults)


def egress(planned: Plan) -> Manifest:
    (found,) = [c for c in planned.applies if c["metadata"]["name"] == "it-egress"]
    return found


def test_the_key_is_mounted_and_nowhere_else() -> None:
    planned = plan()
    spec = egress(planned)["spec"]["template"]["spec"]
    (volume,) = [v for v in spec["volumes"] if "secret" in v]
    assert volume["secret"]["secretName"] == "keys"
    assert volume["secret"]["items"] == [{"key": "openai", "path": "key"}]
    (container,) = spec["containers"]
    (task,) = [e["value"] for e in container["env"] if e["name"] == "LLMCLOUD_TASK"]
    told = EgressTask.model_validate(json.loads(task))
    assert (told.external.model, told.allowed_networks) == ("gpt", ["10.20.0.0/16"])
    assert container["image"] == DEFAULTS.gateway_image
    assert "secret" not in json.dumps(planned.status)


def test_without_a_key_nothing_is_mounted() -> None:
    free = {"provider": "compatible", "url": "https://llm.example.com/v1", "model": "m"}
    spec = egress(plan(owner(external=free)))["spec"]["template"]["spec"]
    assert [v for v in spec["volumes"] if "secret" in v] == []


@pytest.mark.parametrize("tokens", [None, 9])
def test_a_successor_answers_before_its_predecessor_goes(tokens: int | None) -> None:
    spec = egress(plan(owner(external={**OPENAI, "tokensPerDay": tokens})))["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["replicas"] == 1


def test_only_gateways_may_call_it() -> None:
    (policy,) = [c for c in plan().applies if c["kind"] == "NetworkPolicy"]
    calls, reports = policy["spec"]["ingress"]
    (who,) = calls["from"]
    assert who["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "system"}
    assert who["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert "from" not in reports
    assert calls["ports"] != reports["ports"]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"llmcloud.dev/owner-uid": owner().uid}


@pytest.mark.parametrize(
    ("members", "word", "reason", "message"),
    [
        pytest.param({}, "False", Reason.REPLICAS_NOT_READY, "openai of Secret keys", id="starts"),
        pytest.param(
            {"egress": EngineView(1, 1, "", 1)}, "True", Reason.SERVING, "answers", id="answers"
        ),
        pytest.param(
            {"egress": EngineView(1, 1, "", 0)}, "True", Reason.REPLICAS_NOT_READY, "",
            id="rolls",
        ),
        pytest.param(
            {"egress": EngineView(1, 0, "exceeded quota", 0)}, "False", Reason.POD_REFUSED,
            "quota", id="refused",
        ),
        pytest.param(
            {"egress_pods": (make_pod(**unschedulable("0/1 nodes.")),)}, "False",
            Reason.UNSCHEDULABLE, "", id="no node",
        ),
        pytest.param(
            {"egress_pods": (make_pod(**waiting("ImagePullBackOff", "no such image")),)},
            "False", Reason.IMAGE_PULL_FAILED, "", id="no image",
        ),
        pytest.param(
            {"name_taken_by": "other/it"}, "False", Reason.ROUTE_CONFLICT, "other/it", id="taken"
        ),
    ],
)  # fmt: skip
def test_what_is_told(members: dict[str, Any], word: str, reason: Reason, message: str) -> None:
    planned = plan(**members)
    assert said(planned.status) == (word, reason)
    assert message in by_type(planned.status)["Ready"]["message"]


UNMOUNTED = ('MountVolume.SetUp failed for volume "key" : secret "keys" not found',)


def stuck(component: str) -> PodView:
    """A pod whose Secret is missing."""
    pod = make_pod(**waiting("ContainerCreating"))
    return replace(pod, component=component, warnings=UNMOUNTED)


def test_a_missing_secret_is_told_and_looked_at_again() -> None:
    planned = plan(egress=EngineView(1, 0, "", 0), egress_pods=(stuck("egress"),))
    assert said(planned.status) == ("False", Reason.VOLUME_NOT_MOUNTED)
    assert 'secret "keys" not found' in by_type(planned.status)["Ready"]["message"]
    assert planned.requeue_seconds == 2.0


def test_a_fallback_that_does_not_answer_is_told_though_the_model_can_be_used() -> None:
    of, absent, there = owner(**FALLBACK), EngineView(1, 0, "", 0), EngineView(1, 1, "", 1)
    planned = plan(of, egress=absent, egress_pods=(stuck("egress"),))
    assert said(planned.status) == ("True", Reason.VOLUME_NOT_MOUNTED)
    told = by_type(planned.status)
    assert told["Reconciling"]["status"] == "True"
    assert "Its fallback does not answer: A volume of pod it-a1-0-x" in told["Ready"]["message"]
    assert planned.requeue_seconds == 2.0
    for egress_now, pods in ((there, ()), (absent, ()), (there, (stuck("egress"),))):
        healed = plan(of, egress=egress_now, egress_pods=pods)
        assert said(healed.status) == ("True", Reason.SCALED_TO_ZERO)


def test_an_engine_of_before_goes() -> None:
    assert plan(engines=(EngineView(1, 1, "", 1, REF),)).deletes == (REF,)


def test_a_fallback_comes_beside_the_engine_and_goes_with_the_wish() -> None:
    planned = plan(owner(**FALLBACK))
    engines, egress = [c["metadata"] for c in planned.applies if c["kind"] == "Deployment"]
    assert engines["name"].startswith("it-engine-")
    assert egress["name"] == "it-egress"
    left = replace(owner(**FALLBACK), spec={"model": {"trainingJob": {"name": "train"}}})
    there = EngineView(1, 1, "", 1, replace(REF, name="it-egress"))
    assert plan(left, egress=there).deletes == (there.ref,)


def serving(component: str, ip: str, *, ready: bool = True) -> PodView:
    labels = {"app.kubernetes.io/component": component}
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"podIP": ip, "conditions": conditions}
    return pod_view({"metadata": {"name": ip, "uid": ip, "labels": labels}, "status": status})


PODS = (serving("engine", "e"), serving("egress", "x"), serving("egress", "y", ready=False))


def routed(of: Owner) -> tuple[list[str], list[str], list[str]]:
    (route,) = route_list(RoutesWorld("system", (of,), {("ns", of.uid): PODS}))
    return route.endpoints, route.fallback_endpoints, list(route.fallback_when)


def test_who_answers() -> None:
    status: Manifest = {"model": {"digest": MODEL_DIGEST}}
    assert routed(owner()) == (["x:8000"], [], [])
    assert routed(replace(owner(**FALLBACK), status=status)) == (
        ["e:8000"],
        ["x:8000"],
        ["coldStart"],
    )
    plain = make_owner(Kind.DEPLOYMENT, status=status)
    assert routed(plain) == (["e:8000"], [], [])
