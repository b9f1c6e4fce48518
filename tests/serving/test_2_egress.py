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
    """The reason for the refusal of a request of some 750 tokens."""
    messages = [{"role": "user", "content": "hello"}]
    body = json.dumps({"model": "provider", "messages": messages, "max_tokens": 400}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        answer: HTTPResponse = urlopen(Request(f"{url}/v1/chat/completions", body, headers))
    except HTTPError as error:
        with error:
            return str(error.headers["x-llmcloud-reason"])
    with answer:
        raise AssertionError(answer.read())


def test_what_an_egress_pod_was_leased_is_not_leased_again_when_it_is_replaced(
    kube: Kube, url: str, deployed: Object
) -> None:
    # The provider is not reached, which costs nothing, but what was leased for it stays leased.
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
    assert [ask(url) for _ in range(3)] == ["AddressForbidden"] * 3
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
