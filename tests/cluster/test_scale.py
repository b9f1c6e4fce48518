"""Many objects: a settled world is not written to, and many new jobs start soon.

What decides the tests are counts, not times.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from statistics import quantiles

import pytest

from tests.localcluster.cluster import Cluster
from tests.support.audit import OPERATOR_AGENT, Request, requests
from tests.support.figures import figure
from tests.support.kube import Kube, Object, condition
from tests.support.kubelet import end_all
from tests.support.objects import changed, dataset, deployment, store, training_job
from tests.support.operator import OperatorProcess
from tests.support.waiting import wait_for

STORES, DATASETS, SUSPENDED, DEPLOYMENTS, JOBS, BROKEN = 100, 20, 100, 20, 500, 20
CREATION_SECONDS = 9.0


def settled(kube: Kube, namespace: str, kind: str, count: int, reason: str) -> None:
    """Wait until `count` objects of `kind` are Ready for `reason`, ending pods meanwhile."""

    def look() -> int:
        end_all(kube, namespace)
        return sum(condition(o).get("reason") == reason for o in kube.list(kind, namespace))

    wait_for(f"{count} {kind} are {reason}", look, lambda seen: seen == count, 180, 2)


@pytest.fixture(scope="module")
def crowd(kube: Kube, operator: OperatorProcess) -> str:
    """100 stores and 20 datasets Ready, 100 jobs suspended, 20 deployments at zero."""
    namespace = kube.namespace("crowd")
    manifests = [store(namespace)]
    manifests += [store(namespace, name=f"store-{i}") for i in range(1, STORES)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(kube.apply, manifests))
        settled(kube, namespace, "ObjectStore", STORES, "Provisioned")
        manifests = [dataset(namespace)]
        manifests += [dataset(namespace, name=f"text-{i}") for i in range(1, DATASETS)]
        manifests += [
            training_job(namespace, name=f"job-{i}", suspend=True) for i in range(SUSPENDED)
        ]
        model = {"store": {"name": "work", "path": "model/"}}
        manifests += [
            deployment(namespace, name=f"serve-{i}", model=model) for i in range(DEPLOYMENTS)
        ]
        list(pool.map(kube.apply, manifests))
    settled(kube, namespace, "LLMDataset", DATASETS, "Prepared")
    settled(kube, namespace, "LLMTrainingJob", SUSPENDED, "Suspended")
    settled(kube, namespace, "LLMDeployment", DEPLOYMENTS, "ScaledToZero")
    return namespace


def test_a_settled_world_is_not_written_to(
    api_cluster: Cluster, crowd: str, settled_seconds: int
) -> None:
    time.sleep(10)
    since = datetime.now(UTC)
    time.sleep(settled_seconds)
    writes = [
        request
        for request in requests(api_cluster.audit_log)
        if request.agent == OPERATOR_AGENT
        and request.time >= since
        and request.is_write
        and request.resource != "leases"
    ]
    figure(f"writes_in_{settled_seconds}_settled_seconds", len(writes), "writes", 0)
    assert writes == []


def test_many_new_jobs_each_get_their_job_with_few_calls(
    api_cluster: Cluster, kube: Kube, crowd: str
) -> None:
    names = [f"many-{i}" for i in range(JOBS)]
    step = JOBS // BROKEN
    manifests = [training_job(crowd, name=name) for name in names]
    for i in range(0, JOBS, step):
        manifests[i] = changed(manifests[i], "datasets", [{"name": "missing"}])
    broken = set(names[::step])
    since = datetime.now(UTC)
    create_evenly(kube, manifests)
    created_seconds = (datetime.now(UTC) - since).total_seconds()

    def jobs() -> set[str]:
        labels = "app.kubernetes.io/component=train"
        return {
            job["metadata"]["labels"]["llmcloud.dev/owner-name"]
            for job in kube.list("Job", crowd, labels)
        }

    wait_for("every sound job has its Job", jobs, lambda seen: seen >= set(names) - broken, 180, 2)
    time.sleep(3)
    seen = [r for r in requests(api_cluster.audit_log) if r.time >= since - timedelta(seconds=1)]
    delays = start_delays(seen, names)
    uids = {
        o["metadata"]["name"]: o["metadata"]["uid"]
        for o in kube.list("LLMTrainingJob", crowd)
        if o["metadata"]["name"] in set(names) - broken
    }
    calls = calls_before_job(seen, uids)
    p99 = quantiles(delays, n=100)[98]
    figure("create_to_first_job_p99", p99, "s", 5)
    figure("calls_per_object_until_its_job", calls, "calls", 6)
    figure("500_jobs_created_in", created_seconds, "s", 10)
    assert len(delays) == JOBS - BROKEN
    assert calls <= 6
    reasons = {
        o["metadata"]["name"]: condition(o).get("reason")
        for o in kube.list("LLMTrainingJob", crowd)
        if o["metadata"]["name"] in broken
    }
    assert set(reasons.values()) == {"DatasetNotFound"}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: kube.delete("LLMTrainingJob", crowd, name), names))


def create_evenly(kube: Kube, manifests: list[Object]) -> None:
    """Create all in `CREATION_SECONDS`, one after the other; later if the API server is slower."""
    began = time.monotonic()

    def create(numbered: tuple[int, Object]) -> None:
        number, manifest = numbered
        due = began + CREATION_SECONDS * number / len(manifests)
        time.sleep(max(0.0, due - time.monotonic()))
        kube.create(manifest)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, enumerate(manifests)))


def start_delays(seen: list[Request], names: list[str]) -> list[float]:
    """Seconds from the creation of each object to the creation of its Job."""
    created = {
        r.name: r.time
        for r in seen
        if r.resource == "llmtrainingjobs" and r.code == 201 and r.agent != OPERATOR_AGENT
    }
    started = {
        r.name.removesuffix("-train-a1"): r.time
        for r in seen
        if r.resource == "jobs" and r.code == 201 and r.agent == OPERATOR_AGENT
    }
    return [(started[n] - created[n]).total_seconds() for n in names if n in started]


def calls_before_job(seen: list[Request], uids: dict[str, str]) -> float:
    """The operator's calls for an object until its Job was made, mean over the objects.

    Calls that name the object or its uid count for it; reads of what all refer to (dataset,
    store) are shared out equally.
    """
    ours = [r for r in seen if r.agent == OPERATOR_AGENT]
    made = {r.name: r.time for r in ours if r.resource == "jobs" and r.code == 201}
    last = max(made.values())
    shared = [
        r for r in ours
        if r.verb == "get" and r.resource in ("llmdatasets", "objectstores") and r.time <= last
    ]  # fmt: skip
    own = 0
    for name, uid in uids.items():
        until = made[f"{name}-train-a1"]
        own += sum(
            r.time <= until and (r.name in (name, f"{name}-train-a1") or uid in r.uri) for r in ours
        )
    return (own + len(shared)) / len(uids)
