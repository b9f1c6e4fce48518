"""tokensPerDay over the pods that spend it: recorded, told, never given twice."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.leases import KeySample, WindowSample, day_of
from llmcloud.api.names import ANNOTATION_LEASES, Kind
from llmcloud.cluster.egressbook import SILENT_SECONDS, EgressBook
from llmcloud.plan.children import PodView
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld
from llmcloud.plan.model import Manifest, Owner, Plan, parse
from tests.support.worlds import DEFAULTS, NOW, complete_training, make_owner, ready_store

BUDGET = 6400
TODAY = day_of(NOW.timestamp())
OPENAI: Manifest = {
    "provider": "openai",
    "model": "gpt",
    "apiKeySecretRef": {"name": "keys", "key": "openai"},
    "tokensPerDay": BUDGET,
}


def owner(status: Manifest | None = None, **members: Any) -> Owner:
    """An LLMDeployment of OPENAI, or with it as the fallback."""
    spec = members or {"external": OPENAI}
    made = make_owner(Kind.DEPLOYMENT, spec=spec, status=status)
    unwanted = "external" if "fallback" in spec else "model"
    return replace(made, spec={k: v for k, v in made.spec.items() if k != unwanted})


def pod(name: str, leases: str = "", **members: Any) -> PodView:
    known: dict[str, Any] = {"phase": "Running", "ip": "10.0.0.9", "ready": True, **members}
    return PodView(
        name=name, uid=f"uid-{name}", deleting=False, attempt=0, job="", leases=leases, **known
    )


def sample(tokens: int = 0, wanted: int = 0) -> KeySample:
    window = WindowSample(
        window=TODAY, requests=0, tokens=tokens, wanted_requests=0, wanted_tokens=wanted
    )
    nothing = {"requests": 0, "input_tokens": 0, "output_tokens": 0, "last_used": 0}
    return KeySample(namespace="", name="", windows=[window], **nothing)


def plan(of: Owner, *pods: PodView, samples: Mapping[str, KeySample] | None = None) -> Plan:
    world = DeploymentWorld(
        of, complete_training(), ready_store(), (), (), NOW,
        egress_pods=pods, egress_samples=samples or {},
    )  # fmt: skip
    return plan_deployment(world, DEFAULTS)


def told(planned: Plan) -> dict[str, str]:
    """What pods are told, by pod."""
    return {
        m["metadata"]["name"]: m["metadata"]["annotations"][ANNOTATION_LEASES]
        for m in planned.applies
        if m["kind"] == "Pod"
    }


def spendable(annotation: str) -> tuple[int, int]:
    lease = json.loads(annotation)["days"][TODAY]
    return lease["tokens"], lease["most"]


@pytest.mark.parametrize(
    "members", [{"external": OPENAI}, {"fallback": {"external": OPENAI, "when": ["coldStart"]}}]
)
def test_a_lease_is_recorded_before_the_pod_is_told(members: Manifest) -> None:
    first = plan(owner(**members), pod("a"), samples={"a": sample()})
    assert first.status is not None
    assert first.status["leases"] == [
        {"gateway": "a", "window": TODAY, "requests": 0, "tokens": 100}
    ]
    assert told(first) == {}
    second = plan(owner(first.status, **members), pod("a"), samples={"a": sample()})
    assert spendable(told(second)["a"]) == (100, BUDGET)
    known = pod("a", told(second)["a"])
    third = plan(owner(first.status, **members), known, samples={"a": sample()})
    assert told(third) == {}
    assert third.status is not None
    assert third.status["leases"] == first.status["leases"]


def test_what_a_pod_waits_for_is_leased_at_once() -> None:
    planned = plan(owner(), pod("a"), samples={"a": sample(90, 3000)})
    assert planned.status is not None
    assert planned.status["leases"][0]["tokens"] >= 3090


def test_without_a_bound_there_are_no_leases() -> None:
    free = {name: value for name, value in OPENAI.items() if name != "tokensPerDay"}
    planned = plan(owner(external=free), pod("a"), samples={"a": sample()})
    assert planned.status is not None
    assert "leases" not in planned.status
    volumes = planned.applies[1]["spec"]["template"]["spec"]["volumes"]
    assert "leases" not in {volume["name"] for volume in volumes}


def test_the_pod_sees_its_annotation_as_a_file() -> None:
    template = plan(owner()).applies[1]["spec"]["template"]
    (volume,) = [v for v in template["spec"]["volumes"] if v["name"] == "leases"]
    (item,) = volume["downwardAPI"]["items"]
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{ANNOTATION_LEASES}']"
    assert ANNOTATION_LEASES not in template["metadata"].get("annotations", {})


def test_pods_that_replace_each_other_spend_one_budget_and_most_of_it() -> None:
    status: Manifest = {}
    spent = []
    for name, quota in [*((f"pod-{n}", 450) for n in range(9)), ("last", BUDGET)]:
        tokens = 0
        for _ in range(80):  # looks of the operator; between them, one request of 150 tokens
            wanted = 150 if tokens < quota else 0
            planned = plan(owner(status), pod(name), samples={name: sample(tokens, wanted)})
            leased = told(planned).get(name)
            assert planned.status is not None
            status = planned.status
            if leased and wanted and tokens + wanted <= spendable(leased)[0]:
                tokens += wanted
        spent.append(tokens)
    assert spent[:9] == [450] * 9
    assert 0.8 * BUDGET <= sum(spent) <= BUDGET
    assert sum(lease["tokens"] for lease in status["leases"]) <= BUDGET


def test_a_lowered_budget_shrinks_what_was_leased() -> None:
    leases = [
        {"gateway": "gone", "window": TODAY, "tokens": 400},
        {"gateway": "a", "window": TODAY, "tokens": 300},
    ]
    smaller = owner({"leases": leases}, external={**OPENAI, "tokensPerDay": 500})
    assert spendable(told(plan(smaller, pod("a")))["a"]) == (100, 100)


def watch(book: EgressBook, of: Owner, *pods: PodView) -> Mapping[str, KeySample]:
    spec = parse(LLMDeploymentSpec, of.spec)
    assert isinstance(spec, LLMDeploymentSpec)
    return book.watch(of, spec, pods)


def heard(book: EgressBook, now: float, **samples: KeySample | None) -> list[tuple[str, str]]:
    book.record(now, {(("ns", "it"), name): one for name, one in samples.items()})
    return book.due(NOW)


def test_a_deployment_is_due_until_its_leases_are_recorded_and_told() -> None:
    book = EgressBook()
    watch(book, owner(), pod("a"), pod("b", ip=""), pod("c", phase="Pending"))
    assert list(book.urls()) == [(("ns", "it"), "a")]
    assert heard(book, 1.0, a=None) == []
    assert heard(book, 2.0, a=sample()) == [("ns", "it")]
    status = plan(owner(), pod("a"), samples=watch(book, owner(), pod("a"))).status
    assert status is not None
    watch(book, owner(status), pod("a"))
    assert heard(book, 3.0, a=sample()) == [("ns", "it")]
    known = told(plan(owner(status), pod("a"), samples={"a": sample()}))["a"]
    watch(book, owner(status), pod("a", known))
    assert heard(book, 4.0, a=sample()) == []
    assert heard(book, 5.0, a=sample(90)) == [("ns", "it")]
    assert heard(book, 6.0 + SILENT_SECONDS, a=None) == []


def test_without_a_budget_nobody_is_asked() -> None:
    book = EgressBook()
    free = {name: value for name, value in OPENAI.items() if name != "tokensPerDay"}
    watch(book, owner(), pod("a"))
    assert watch(book, owner(external=free), pod("a")) == {}
    assert book.urls() == {}
    watch(book, owner(), pod("a"))
    book.forget("ns", "it")
    assert book.urls() == {}
