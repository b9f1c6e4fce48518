"""A trainer that is killed resumes; an operator that is killed twenty times changes nothing."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from llmcloud.api.names import LABEL_REVISION, Kind
from tests.localcluster.cluster import Cluster
from tests.support.audit import requests
from tests.support.figures import LINES
from tests.support.install import NAMESPACE, copy_keys, operator_kubeconfig, settings_of
from tests.support.kube import Kube, Object, condition
from tests.support.objects import changed
from tests.support.operator import OperatorProcess
from tests.support.paths import small_path
from tests.support.replicas import PHASES, replica_phase
from tests.support.waiting import wait_for

PATH_KILLS = 14
START_KILLS = (0, 1, 1, 2, 2, 3)
"""The phase of the replica's start that must have come before each kill: indexes of PHASES."""
SEED = 20261123


@contextmanager
def operator_outside(cluster: Cluster, folder: Path, **images: str) -> Iterator[OperatorProcess]:
    """The operator as a process of this machine, with its own rights, instead of its pod."""
    target = ("-n", NAMESPACE, "scale", "deployment/llmcloud-operator")
    settings = settings_of(cluster)
    settings["images"] = {**settings["images"], **images}
    cluster.kubectl(*target, "--replicas=0")
    kubeconfig = operator_kubeconfig(cluster, folder)
    operator = OperatorProcess(kubeconfig, folder, overrides=settings)
    try:
        yield operator.start()
    finally:
        operator.stop()
        cluster.kubectl(*target, "--replicas=1")


def test_an_image_that_cannot_be_pulled_is_named_and_healed_by_the_right_one(
    kube: Kube, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    wrong = settings_of(cluster)["images"]["operator"].rsplit(":", 1)[0] + ":never-pushed"

    def reason() -> str:
        owner = kube.get(Kind.OBJECT_STORE, namespace, "work")
        return str(condition(owner).get("reason"))

    with operator_outside(cluster, tmp_path, operator=wrong):
        kube.apply(small_path(namespace, "unpulled-bucket")[1])
        wait_for("it is told", reason, lambda said: said == "ImagePullFailed", 90)
        owner = kube.get(Kind.OBJECT_STORE, namespace, "work")
        assert "never-pushed" in condition(owner)["message"]
    wait_for("it is healed", reason, lambda said: said == "Provisioned", 120)


def end_state(kube: Kube, namespace: str) -> dict[str, Any]:
    """What must be equal however often the operator was killed."""
    state: dict[str, Any] = {}
    for kind in Kind:
        for owner in kube.list(kind, namespace):
            status = owner.get("status", {})
            state[f"{kind}/{owner['metadata']['name']}"] = {
                "conditions": {c["type"]: c["status"] for c in status.get("conditions", [])},
                "attempt": status.get("attempt"),
                "failures": status.get("failures"),
                "version": status.get("version"),
                # The model card names its own bucket, so digests differ; what was learned does not.
                "modelled": "digest" in status.get("model", {}),
                "evaluation": status.get("evaluation"),
                "finalizers": owner["metadata"].get("finalizers", []),
            }
    for child_kind in ("Job", "Deployment"):
        children = kube.list(child_kind, namespace)
        state[child_kind] = sorted(unrevised(child["metadata"]) for child in children)
        state[f"{child_kind} replicas"] = [child["spec"].get("replicas") for child in children]
        assert all(child["metadata"].get("ownerReferences") for child in children)
    return state


def unrevised(meta: Object) -> str:
    """A child's name without the hash of its template, which names the bucket."""
    name: str = meta["name"]
    return name.removesuffix(meta.get("labels", {}).get(LABEL_REVISION, ""))


def wait_for_reason(kube: Kube, namespace: str, reason: str) -> None:
    """Wait until the deployment of the small path is so: ScaledToZero before the first answer,
    Serving after it."""
    wait_for(
        f"the {namespace} path is {reason}",
        lambda: condition(kube.get(Kind.DEPLOYMENT, namespace, "serve")).get("reason"),
        lambda said: said == reason,
        300,
    )


def likeliest(gateway: str, namespace: str) -> str:
    """What the deployment answers; at zero the request is held until a replica is ready."""
    url = f"{gateway}/ns/{namespace}/v1"
    client = OpenAI(base_url=url, api_key="anonymous", timeout=300, max_retries=0)
    told = client.completions.create(model=namespace, prompt="def f(", max_tokens=16, temperature=0)
    return told.choices[0].text


def phase_of(kube: Kube, namespace: str) -> str:
    """Where the path is: the reason of each object's Ready condition."""
    said = []
    for kind, name in (
        (Kind.OBJECT_STORE, "work"),
        (Kind.DATASET, "text"),
        (Kind.TRAINING_JOB, "train"),
        (Kind.DEPLOYMENT, "serve"),
    ):
        said.append(f"{name} {condition(kube.get(kind, namespace, name)).get('reason', 'absent')}")
    return ", ".join(said)


class Storm:
    """Kills the operator and starts it again; `phases`: how often while the path was where."""

    def __init__(self, kube: Kube, namespace: str, operator: OperatorProcess) -> None:
        self._kube, self._namespace, self._operator = kube, namespace, operator
        self._random = random.Random(SEED)
        self.phases: Counter[str] = Counter()

    def kill(self, within_seconds: float) -> None:
        time.sleep(self._random.uniform(0.05, within_seconds))
        phase = phase_of(self._kube, self._namespace)
        replica = PHASES[replica_phase(self._kube, self._namespace)]
        self.phases[f"{phase}, its replica {replica}"] += 1
        self._operator.kill()
        self._operator.start()

    def over_the_path(self) -> None:
        """The objects come one by one, with kills between."""
        manifests = small_path(self._namespace, f"{self._namespace}-bucket")
        for kill in range(PATH_KILLS):
            if kill % 2 == 0 and manifests:
                self._kube.apply(manifests.pop(0))
            self.kill(4.0)
        assert not manifests

    def over_the_start(self) -> None:
        """While a request is held until there is a replica."""
        for phase in START_KILLS:
            self._wait_for_replica(phase)
            self.kill(1.0)

    def _wait_for_replica(self, phase: int) -> None:
        wait_for(
            f"the replica {PHASES[phase]}, or is further",
            lambda: replica_phase(self._kube, self._namespace),
            lambda seen: seen >= phase,
            300,
            every_seconds=0.1,
        )


@pytest.fixture
def calm_and_stormy(kube: Kube, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Two namespaces; their engines go with the test."""
    for namespace in ("calm", "stormy"):
        kube.namespace(namespace)
        copy_keys(cluster, namespace)
    yield "calm", "stormy"
    cluster.kubectl("delete", "namespace", "calm", "stormy", "--wait=false")


def test_an_operator_killed_twenty_times_ends_where_an_undisturbed_one_does(
    kube: Kube,
    cluster: Cluster,
    gateway: str,
    calm_and_stormy: tuple[str, str],
    tmp_path: Path,
) -> None:
    calm, stormy = calm_and_stormy
    for manifest in small_path(calm, "calm-bucket"):
        kube.apply(manifest)
    wait_for_reason(kube, calm, "ScaledToZero")
    undisturbed = likeliest(gateway, calm)
    since = datetime.now(UTC)
    with operator_outside(cluster, tmp_path) as operator, ThreadPoolExecutor(1) as pool:
        storm = Storm(kube, stormy, operator)
        storm.over_the_path()
        wait_for_reason(kube, stormy, "ScaledToZero")
        held = pool.submit(likeliest, gateway, stormy)
        storm.over_the_start()
        assert held.result(timeout=300) == undisturbed
        for namespace in (calm, stormy):
            wait_for_reason(kube, namespace, "Serving")
        time.sleep(3)
        assert end_state(kube, stormy) == end_state(kube, calm)
    for phase, count in storm.phases.items():
        LINES.append(f"operator killed {count} times while {phase}")
    assert sum(storm.phases.values()) == PATH_KILLS + len(START_KILLS) == 20
    created = Counter(
        (r.resource, r.name)
        for r in requests(cluster.audit_log)
        if r.time >= since and r.namespace == stormy and r.code == 201 and r.verb == "patch"
        and r.resource in ("jobs", "deployments")
    )  # fmt: skip
    assert created
    assert max(created.values()) == 1, created


def test_a_killed_trainer_resumes_from_its_last_checkpoint(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    *before, job, _ = small_path(namespace, "resumed-bucket")
    job = changed(job, "hyperparameters", {"maxSteps": 1500, "learningRate": 0.002})
    job = changed(job, "checkpoint", {"everySteps": 50})
    for manifest in (*before, job):
        kube.apply(manifest)

    def status() -> Object:
        found: Object = (kube.get(Kind.TRAINING_JOB, namespace, "train") or {}).get("status", {})
        return found

    seen = wait_for(
        "a checkpoint while it trains",
        status,
        lambda s: s.get("phase") == "Running" and s.get("checkpoint"),
        240,
    )
    (pod,) = kube.list("Pod", namespace, "app.kubernetes.io/component=train")
    kube.delete("Pod", namespace, pod["metadata"]["name"])
    wait_for("the second attempt", status, lambda s: s.get("attempt") == 2, 120)
    resumed = wait_for(
        "it trains again", status, lambda s: s.get("phase") in ("Running", "Succeeded"), 120
    )
    assert resumed["failures"] == 0
    assert resumed["progress"]["step"] >= seen["checkpoint"]["step"]
    done = wait_for("it ends", status, lambda s: s.get("phase") == "Succeeded", 600)
    assert done["attempt"] == 2


def test_two_pods_train_one_model(kube: Kube, namespace: str) -> None:
    *before, job, _ = small_path(namespace, "two-pods-bucket")
    for manifest in (*before, changed(job, "nodes", {"min": 2, "max": 2})):
        kube.apply(manifest)

    def status() -> Object:
        found: Object = (kube.get(Kind.TRAINING_JOB, namespace, "train") or {}).get("status", {})
        return found

    done = wait_for("it ends", status, lambda s: s.get("phase") in ("Succeeded", "Failed"), 300)
    assert done["phase"] == "Succeeded", done
    assert done["attempt"] == 1
    assert done["progress"]["step"] == 60
    (child,) = kube.list("Job", namespace, "app.kubernetes.io/component=train")
    assert child["status"]["succeeded"] == 2
