"""A provider's budget is one budget, whichever pod spends it."""

import json
from http.client import HTTPResponse
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from llmcloud.api.names import Kind
from tests.serving.conftest import NS
from tests.support.gateways import ready_pods
from tests.support.kube import Kube, Object, status_of
from tests.support.objects import deployment
from tests.support.waiting import wait_for

BUDGET = 1000
LABELS = "app.kubernetes.io/instance=provider,app.kubernetes.io/component=egress"


def ask(url: str) -> str:
    """The reason for the refusal of a request of some 200 tokens."""
    messages = [{"role": "user", "content": "hello"}]
    body = json.dumps({"model": "provider", "messages": messages, "max_tokens": 100}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        answer: HTTPResponse = urlopen(Request(f"{url}/v1/chat/completions", body, headers))
    except HTTPError as error:
        with error:
            return str(error.headers["x-llmcloud-reason"])
    with answer:
        raise AssertionError(answer.read())


def test_a_budget_that_is_spent_stays_spent_when_the_egress_pod_is_replaced(
    kube: Kube, url: str, deployed: Object
) -> None:
    # The provider is not reached: what a request could have cost is charged nevertheless.
    external = {
        "provider": "compatible",
        "url": "https://127.0.0.1:9/v1",
        "model": "m",
        "tokensPerDay": BUDGET,
    }
    manifest = deployment(NS, "provider", external=external)
    del manifest["spec"]["model"]
    kube.apply(manifest)

    def pods() -> list[Object]:
        return ready_pods(kube, NS, LABELS)

    (first,) = wait_for("an egress pod", pods, bool, 120)
    reasons: list[str] = []

    def ask_again() -> str:
        reasons.append(ask(url))
        return reasons[-1]

    wait_for("the day is spent", ask_again, "TokensPerDaySpent".__eq__, 60)
    assert set(reasons[:-1]) == {"AddressForbidden"}
    assert 4 <= len(reasons) - 1 <= 5
    kube.delete("Pod", NS, first["metadata"]["name"])
    wait_for(
        "another egress pod",
        pods,
        lambda found: found and found[0]["metadata"]["uid"] != first["metadata"]["uid"],
        120,
    )
    assert ask(url) == "TokensPerDaySpent"
    leases = status_of(kube.get(Kind.DEPLOYMENT, NS, "provider"))["leases"]
    assert sum(lease["tokens"] for lease in leases) <= BUDGET
    assert first["metadata"]["name"] in {lease["gateway"] for lease in leases}
    kube.delete(Kind.DEPLOYMENT, NS, "provider")
