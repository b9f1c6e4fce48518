"""Scaled from zero to five replicas and back, rolled, drained and killed under a client's load.

The load goes on from test to test, and no request of it may fail or be cut short.
"""

import time

from tests.localcluster.cluster import Cluster
from tests.serving.conftest import ENGINES, NS, Replicas
from tests.support.figures import LINES, figure
from tests.support.gateways import LABELS as GATEWAYS
from tests.support.gateways import in_flight, kill, pid_of, ready_pods
from tests.support.install import NAMESPACE
from tests.support.kube import Kube, Object
from tests.support.load import Load, percentile
from tests.support.waiting import wait_for

HIGH, LOW = 90.0, 4.0
"""Requests per second: 54 slots and a margin are five replicas of 14; 2.4 are one."""
REQUESTS = 10_000
OPERATOR_DOWN_SECONDS = 60.0


def whole(load: Load) -> None:
    """Nothing that the rate sent has failed so far."""
    assert load.failed == [], f"{len(load.failed)} of {len(load.seen)} failed"


def test_the_first_request_wakes_a_replica_and_is_kept_alive(
    load: Load, replicas: Replicas
) -> None:
    asked = [load.ask(stream=stream, tokens=5) for stream in (True, False)]
    wait_for("a replica is ready", replicas.ready, bool, 120, every_seconds=0.02)
    ready = time.monotonic()
    stream, answer = (request.result(timeout=60) for request in asked)
    assert (stream.problem, answer.problem) == ("", "")
    assert stream.comments > 0
    figure("first_token_after_the_first_Ready", stream.first_token - ready, "s", 1)
    figure("first_token_after_zero", stream.first_token - stream.began, "s")
    LINES.append(f"{stream.comments} keep-alive comments before the first token after zero")


def test_more_load_gets_five_replicas(load: Load, replicas: Replicas) -> None:
    load.rate = HIGH
    replicas.wait(5, 180)
    whole(load)


def _operator(kube: Kube) -> list[Object]:
    return kube.list("Pod", NAMESPACE, "app.kubernetes.io/component=operator")


def test_gateways_are_rolled_and_drained_while_the_operator_is_down(
    cluster: Cluster, kube: Kube, load: Load
) -> None:
    target = ("-n", NAMESPACE, "scale", "deployment/llmcloud-operator")
    cluster.kubectl(*target, "--replicas=0")
    wait_for("the operator is gone", lambda: _operator(kube), lambda pods: not pods, 60)
    down = time.monotonic()

    before = {pod["metadata"]["name"] for pod in ready_pods(kube, NAMESPACE, GATEWAYS)}
    rollout = ("-n", NAMESPACE, "rollout")
    cluster.kubectl(*rollout, "restart", "deployment/llmcloud-gateway")
    cluster.kubectl(*rollout, "status", "deployment/llmcloud-gateway", "--timeout=180s")
    drained, *_ = ready_pods(kube, NAMESPACE, GATEWAYS)
    assert drained["metadata"]["name"] not in before
    cluster.kubectl("-n", NAMESPACE, "delete", "pod", drained["metadata"]["name"], "--wait=true")
    cluster.kubectl(*rollout, "status", "deployment/llmcloud-gateway", "--timeout=180s")

    time.sleep(max(0.0, OPERATOR_DOWN_SECONDS - (time.monotonic() - down)))
    assert _operator(kube) == []
    cluster.kubectl(*target, "--replicas=1")
    figure("operator_down_under_load", time.monotonic() - down, "s")
    whole(load)


def _engines_on(kube: Kube, node: str) -> list[Object]:
    return [pod for pod in kube.list("Pod", NS, ENGINES) if pod["spec"].get("nodeName") == node]


def test_a_node_is_drained(cluster: Cluster, kube: Kube, load: Load, replicas: Replicas) -> None:
    replicas.wait(5, 180)
    (store,) = kube.list("Pod", NAMESPACE, "app.kubernetes.io/component=store")
    (node,) = {f"{cluster.name}-a", f"{cluster.name}-b"} - {store["spec"]["nodeName"]}
    moved = len(_engines_on(kube, node))
    assert moved > 0
    began = time.monotonic()
    options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")
    cluster.kubectl("drain", node, *options)
    figure("node_drained_under_load", time.monotonic() - began, "s")
    LINES.append(f"{moved} of 5 replicas were on the node that was drained")
    assert _engines_on(kube, node) == []
    cluster.kubectl("uncordon", node)
    replicas.wait(5, 180)
    wait_for(
        "both gateways are ready",
        lambda: ready_pods(kube, NAMESPACE, GATEWAYS),
        lambda pods: len(pods) == 2,
        120,
    )
    wait_for("requests enough", lambda: len(load.seen), lambda seen: seen >= REQUESTS, 300)
    whole(load)


def test_a_killed_gateway_takes_only_its_own_streams(
    cluster: Cluster, kube: Kube, load: Load
) -> None:
    load.rate = 0
    wait_for("nothing is in flight", lambda: load.in_flight, lambda left: not left, 120)
    whole(load)
    streams = [load.ask(stream=True, tokens=150, fresh=True) for _ in range(40)]
    wait_for(
        "every stream has begun",
        lambda: [seen.first_token for seen in load.in_flight],
        lambda began: len(began) == 40 and all(began),
        60,
    )
    victim, other = ready_pods(kube, NAMESPACE, GATEWAYS)
    pid = pid_of(cluster, victim)
    carried, rest = in_flight(victim), in_flight(other)
    assert carried + rest == 40
    assert carried > 0
    kill(pid)
    refused, next_seconds = _next_answer(load)
    ended = [stream.result(timeout=120) for stream in streams]
    broken = [seen for seen in ended if seen.problem]
    assert len(broken) == carried, [seen.problem for seen in broken]
    figure("streams_broken_by_a_killed_gateway", len(broken), "", carried)
    figure("next_answer_after_a_gateway_was_killed", next_seconds, "s", 1)
    LINES.append(
        f"{carried} of {len(streams)} streams were on the killed gateway; {refused} connections "
        "were refused before the next answer"
    )


def _next_answer(load: Load) -> tuple[int, float]:
    """Asks again whenever it is refused, as clients do: how often, and seconds until an answer."""
    began, refused = time.monotonic(), 0
    while True:
        seen = load.ask(stream=False, tokens=1, fresh=True).result(timeout=60)
        if not seen.problem:
            return refused, time.monotonic() - began
        refused += 1
        assert refused < 1000, seen.problem
        time.sleep(0.02)


def test_less_load_leaves_one_replica_and_none_at_last(load: Load, replicas: Replicas) -> None:
    load.rate = LOW
    replicas.wait(1, 300)
    load.rate = 0
    wait_for("nothing is in flight", lambda: load.in_flight, lambda left: not left, 120)
    replicas.wait(0, 120)
    LINES.append(f"replicas wanted under load: {' -> '.join(map(str, replicas.wanted))}")
    assert replicas.wanted[:2] == [0, 1]
    assert replicas.wanted[-2:] == [1, 0]
    assert max(replicas.wanted) == 5


def test_no_request_failed_and_none_was_cut_short(load: Load) -> None:
    streams = [seen for seen in load.seen if seen.stream]
    figure("requests_under_load", len(load.seen), "", REQUESTS, floor=True)
    figure("requests_failed_or_broken", len(load.failed), "", 0)
    figure("streams_under_load", len(streams), "", 0.5 * REQUESTS, floor=True)
    waits = [seen.first_token - seen.began for seen in streams if not seen.problem]
    for percent in (50, 95, 99):
        figure(f"first_token_under_load_p{percent}", percentile(waits, percent), "s")
    assert len(load.seen) >= REQUESTS
    assert abs(len(streams) - len(load.seen) / 2) <= 1
    assert load.failed == []
