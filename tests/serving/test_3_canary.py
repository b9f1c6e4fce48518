"""A changed engine comes in as a canary and is promoted; a slower one is rolled back. No request of
the load fails meanwhile."""

from collections import Counter

from llmcloud.api.names import Kind
from tests.serving.conftest import NAME, NS, Replicas
from tests.support.figures import LINES
from tests.support.kube import Kube, Object, status_of
from tests.support.load import Load
from tests.support.waiting import wait_for

RATE = 16.0
ROLLOUT = {
    "canary": {
        "steps": [20, 50],
        "stepSeconds": 10,
        "abort": {"errorPercent": 1, "timeToFirstTokenPercent": 100, "minRequests": 10},
    }
}


def change(kube: Kube, deployed: Object, *arguments: str) -> None:
    engine = {**deployed["spec"]["engine"], "args": ["-load=1s", "-token=80ms", *arguments]}
    kube.patch(Kind.DEPLOYMENT, NS, NAME, {"spec": {"engine": engine}})


def versions(load: Load, since: int) -> Counter[str]:
    """Answers by the version of the engine, of the requests that ended from a moment on."""
    return Counter(seen.engine.partition("@")[0] for seen in load.seen[since:])


def test_a_changed_engine_is_tried_and_promoted(
    kube: Kube, deployed: Object, load: Load, replicas: Replicas
) -> None:
    load.rate = RATE
    wait_for("a replica answers", replicas.ready, bool, 120)
    kube.patch(Kind.DEPLOYMENT, NS, NAME, {"spec": {"rollout": ROLLOUT}})
    since = len(load.seen)
    change(kube, deployed, "-version=2", "-first-token=80ms")
    wait_for("it is tried", replicas.status, lambda s: s.get("canary"), 60)
    weights: list[int] = []

    def weight() -> int:
        seen = int((replicas.status().get("canary") or {}).get("weight", 0))
        weights.append(seen)
        return seen

    wait_for("it is promoted", weight, lambda seen: not seen, 180)
    assert set(weights) == {20, 50, 0}
    assert "rejected" not in replicas.status()["model"]
    both = versions(load, since)
    assert set(both) == {"1", "2"}
    wait_for(
        "only the new one answers",
        lambda: versions(load, len(load.seen) - 20),
        lambda seen: seen["2"] == 20,
        120,
    )
    LINES.append(f"promoted: {both['1']} answers of the old, {both['2']} of the new meanwhile")
    assert load.failed == []


def test_a_slower_engine_is_rolled_back_and_remembered(
    kube: Kube, deployed: Object, load: Load, replicas: Replicas
) -> None:
    since = len(load.seen)
    change(kube, deployed, "-version=3", "-first-token=800ms")
    wait_for("it is tried", replicas.status, lambda s: s.get("canary"), 60)
    rejected = wait_for(
        "it is rolled back",
        lambda: status_of(kube.get(Kind.DEPLOYMENT, NS, NAME)).get("model", {}),
        lambda model: model.get("rejected"),
        180,
    )["rejected"]
    assert "first tokens took" in rejected["message"]
    wait_for(
        "only the old one answers",
        lambda: versions(load, len(load.seen) - 20),
        lambda seen: seen["2"] == 20,
        120,
    )
    tried = versions(load, since)
    assert tried["3"] > 0
    LINES.append(
        f"rolled back: {tried['3']} answers of the slower engine, {tried['2']} of the stable"
    )
    assert load.failed == []
    load.rate = 0
