"""What goes wrong on a real node: each is told with a remedy, and healed when its cause goes."""

from typing import Any

import pytest

from llmcloud.api.names import Kind
from llmcloud.plan.manifests.replica import SETTLE_SECONDS
from tests.localcluster.cluster import Cluster
from tests.support.conditions import wait_until
from tests.support.deadlines import children, delete_and_time, seconds_since_shown
from tests.support.figures import figure
from tests.support.kube import Kube, Object, condition
from tests.support.objects import changed, store
from tests.support.paths import ENDPOINT, small_path
from tests.support.replicas import PHASES, replica_phase
from tests.support.waiting import wait_for

KEYS: dict[str, Any] = {
    "endpoint": {"url": ENDPOINT},
    "credentials": {"secretRef": {"name": "store-keys"}},
}


def told(
    kube: Kube, kind: Kind, namespace: str, name: str, reason: str, seconds: float = 60
) -> str:
    """Wait until Ready is not True for `reason`; its message."""
    owner = wait_until(kube, kind, namespace, name, "reason", reason, seconds)
    told_after = seconds_since_shown(kube, kind, namespace, name)
    if told_after is not None:
        figure(f"told_{reason}_after", told_after, "s", 10)
    assert condition(owner)["status"] == "False"
    return str(condition(owner)["message"])


def healed(kube: Kube, kind: Kind, namespace: str, name: str, seconds: float = 120) -> Object:
    """Wait until the object is Ready."""
    return wait_until(kube, kind, namespace, name, "status", "True", seconds)


def test_a_missing_secret_is_named_and_healed_when_it_comes(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    late = {**KEYS, "credentials": {"secretRef": {"name": "late-keys"}}}
    kube.apply(store(namespace, bucket="late-secret", **late))
    message = told(kube, Kind.OBJECT_STORE, namespace, "work", "VolumeNotMounted")
    assert '"late-keys" not found' in message
    secret = kube.get("Secret", namespace, "store-keys")
    assert secret is not None
    copy = {"name": "late-keys", "namespace": namespace}
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": copy, "data": secret["data"]})
    healed(kube, Kind.OBJECT_STORE, namespace, "work", 180)


def test_a_wrong_key_is_told_without_showing_it_and_healed_by_the_right_one(
    kube: Kube, namespace: str
) -> None:
    wrong = {"AWS_ACCESS_KEY_ID": "wrong-id", "AWS_SECRET_ACCESS_KEY": "wrong-secret-value"}
    meta = {"name": "keys", "namespace": namespace}
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": wrong})
    spec = {**KEYS, "credentials": {"secretRef": {"name": "keys"}}}
    kube.apply(store(namespace, bucket="wrong-key", **spec))
    message = told(kube, Kind.OBJECT_STORE, namespace, "work", "CredentialsRefused")
    assert "wrong-secret-value" not in message
    right = kube.get("Secret", namespace, "store-keys")
    assert right is not None
    kube.patch("Secret", namespace, "keys", {"data": right["data"]})
    healed(kube, Kind.OBJECT_STORE, namespace, "work")


def test_a_missing_bucket_is_named_with_the_remedy(kube: Kube, namespace: str) -> None:
    kube.apply(store(namespace, bucket="nobody-made-this", create=False, **KEYS))
    message = told(kube, Kind.OBJECT_STORE, namespace, "work", "BucketNotFound")
    assert "nobody-made-this" in message
    assert "create: true" in message


def test_an_endpoint_that_does_not_answer_is_told(kube: Kube, namespace: str) -> None:
    nowhere = {**KEYS, "endpoint": {"url": "http://nowhere.invalid:9000"}}
    kube.apply(store(namespace, **nowhere))
    message = told(kube, Kind.OBJECT_STORE, namespace, "work", "StoreUnreachable", 120)
    assert "nowhere.invalid" in message


def test_sources_without_documents_are_told(kube: Kube, namespace: str) -> None:
    samples, work, text, *_ = small_path(namespace, "no-documents")
    source = {"store": {"name": "samples", "path": "python/"}, "include": ["*.nothing"]}
    for manifest in (samples, work, changed(text, "sources", [source])):
        kube.apply(manifest)
    message = told(kube, Kind.DATASET, namespace, "text", "SourceEmpty", 120)
    assert "*.nothing" in message


@pytest.fixture
def prepared(kube: Kube, namespace: str) -> Object:
    """A dataset that is Ready; the training job of the small path, not applied."""
    samples, work, text, job, _ = small_path(namespace, namespace[:40].rstrip("-"))
    for manifest in (samples, work, text):
        kube.apply(manifest)
    healed(kube, Kind.DATASET, namespace, "text")
    return job


def test_an_accelerator_that_no_node_has_is_told_before_there_is_a_pod(
    kube: Kube, namespace: str, prepared: Object
) -> None:
    resources = {"accelerator": "nvidia-h100", "count": 8, "memory": "2Gi"}
    kube.apply(changed(prepared, "resources", resources))
    message = told(kube, Kind.TRAINING_JOB, namespace, "train", "AcceleratorNotFound")
    assert "No node of this cluster has a nvidia-h100" in message
    assert children(kube, Kind.TRAINING_JOB, namespace, "train") == []


def test_replicas_over_nodes_without_room_are_told_and_go_when_they_are_not_asked_for(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    _, work, *_, served = small_path(namespace, "spread")
    kube.apply(work)
    healed(kube, Kind.OBJECT_STORE, namespace, "work")
    kind = "nvidia.com/gpu.product"
    cluster.kubectl("label", "node", "--all", f"{kind}=NVIDIA-L4")
    spread = changed(served, "model", {"store": {"name": "work", "path": "model/"}})
    spread = changed(spread, "resources", {"accelerator": "nvidia-l4"})
    spread = changed(spread, "nodes", {"min": 2, "max": 2})
    spread = changed(spread, "scaling", {"mode": "External"})
    kube.apply(spread)
    # An accelerator is looked for once a minute.
    message = told(kube, Kind.DEPLOYMENT, namespace, "serve", "Unschedulable", 120)
    assert "nvidia.com/gpu" in message
    kube.apply(changed(changed(spread, "nodes", None), "replicas", 0))
    wait_for("no StatefulSets", lambda: kube.list("StatefulSet", namespace), lambda s: not s, 60)
    cluster.kubectl("label", "node", "--all", f"{kind}-")


def test_a_pod_that_no_node_can_hold_is_told_in_the_schedulers_words(
    kube: Kube, namespace: str, prepared: Object
) -> None:
    kube.apply(changed(prepared, "resources", {"cpu": "500", "memory": "2Gi"}))
    message = told(kube, Kind.TRAINING_JOB, namespace, "train", "Unschedulable")
    assert "Insufficient cpu" in message


def test_a_trainer_killed_for_memory_is_told_and_counted(
    kube: Kube, namespace: str, prepared: Object
) -> None:
    kube.apply({**prepared, "spec": {**prepared["spec"], "backoffLimit": 0,
                                     "resources": {"cpu": "100m", "memory": "96Mi"}}})  # fmt: skip
    message = told(kube, Kind.TRAINING_JOB, namespace, "train", "BackoffLimitExceeded", 120)
    assert "OutOfMemory" in message
    assert "spec.resources.memory" in message


def test_a_trainer_whose_disk_is_full_is_told_and_counted(
    kube: Kube, namespace: str, prepared: Object
) -> None:
    spec = {
        **prepared["spec"],
        "hyperparameters": {"maxSteps": 100000},
        "backoffLimit": 0,
        "resources": {"cpu": "100m", "memory": "2Gi", "ephemeralStorage": "1Mi"},
    }
    kube.apply({**prepared, "spec": spec})
    message = told(kube, Kind.TRAINING_JOB, namespace, "train", "BackoffLimitExceeded", 300)
    assert "DiskFull" in message
    assert "spec.resources.ephemeralStorage" in message


def test_a_limit_range_is_told_in_its_own_words_and_healed(kube: Kube, namespace: str) -> None:
    meta = {"name": "small-only", "namespace": namespace}
    limits = {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}
    kube.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": limits})
    kube.apply(store(namespace, bucket="limited", **KEYS))
    message = told(kube, Kind.OBJECT_STORE, namespace, "work", "PodRefused")
    assert "maximum memory usage per Container is 64Mi" in message
    kube.delete("LimitRange", namespace, "small-only")
    healed(kube, Kind.OBJECT_STORE, namespace, "work", 180)


def deleted(kube: Kube, kind: Kind, namespace: str, name: str, grace_seconds: int) -> None:
    """Delete an object under way; its children must go, and how soon is a figure."""
    reason = condition(kube.get(kind, namespace, name)).get("reason")
    marked, gone = delete_and_time(kube, kind, namespace, name)
    figure(f"{kind}_{reason}_deleted_children_marked_after", marked, "s", 2)
    figure(f"{kind}_{reason}_deleted_children_gone_after", gone, "s", max(30, grace_seconds + 10))


def runs(kube: Kube, kind: Kind, namespace: str, name: str) -> None:
    """Wait until a pod of the object runs."""
    wait_for(
        f"a pod of {kind} {name} runs",
        lambda: children(kube, kind, namespace, name),
        lambda found: any(c.get("status", {}).get("phase") == "Running" for c in found),
        60,
    )


def test_deletion_at_any_stage_leaves_no_child(kube: Kube, namespace: str) -> None:
    samples, work, text, job, _ = small_path(namespace, "deleted-bucket")
    kube.apply(work)
    wait_for(
        "it is being provisioned",
        lambda: children(kube, Kind.OBJECT_STORE, namespace, "work"),
        bool,
        30,
    )
    deleted(kube, Kind.OBJECT_STORE, namespace, "work", 30)
    for manifest in (samples, work, text):
        kube.apply(manifest)
    runs(kube, Kind.DATASET, namespace, "text")
    deleted(kube, Kind.DATASET, namespace, "text", 30)
    kube.apply(text)
    healed(kube, Kind.DATASET, namespace, "text")
    kube.apply(job)
    wait_for("it starts", lambda: children(kube, Kind.TRAINING_JOB, namespace, "train"), bool, 30)
    deleted(kube, Kind.TRAINING_JOB, namespace, "train", 90)


def test_deletion_while_training_or_loading_leaves_no_pod_and_keeps_the_data(
    kube: Kube, cluster: Cluster, namespace: str, prepared: Object
) -> None:
    job = changed(prepared, "hyperparameters", {"maxSteps": 100000})
    kube.apply(changed(job, "checkpoint", {"everySteps": 20, "graceSeconds": 10}))
    wait_for(
        "a durable checkpoint",
        lambda: kube.get(Kind.TRAINING_JOB, namespace, "train"),
        lambda o: (o or {}).get("status", {}).get("checkpoint"),
        120,
    )
    deleted(kube, Kind.TRAINING_JOB, namespace, "train", 10)
    done = changed(job, "hyperparameters", {"maxSteps": 60})
    done["metadata"]["name"] = "train-again"
    done["spec"]["output"]["store"]["path"] = "train-again/"
    kube.apply(done)
    healed(kube, Kind.TRAINING_JOB, namespace, "train-again", 180)
    served = small_path(namespace, "")[-1]
    served = changed(served, "model", {"trainingJob": {"name": "train-again"}})
    kube.apply(changed(served, "scaling.minReplicas", 1))
    wait_for(
        "the engine loads",
        lambda: replica_phase(kube, namespace),
        lambda phase: PHASES[phase] in ("loads it", "is ready"),
        120,
        every_seconds=0.1,
    )
    drain_seconds = served["spec"]["scaling"]["drainSeconds"]
    deleted(kube, Kind.DEPLOYMENT, namespace, "serve", SETTLE_SECONDS + drain_seconds + 15)
    objects = cluster.folder / "volumes" / "store" / "objects" / namespace[:40].rstrip("-")
    assert list(objects.glob("train-again/**/*.safetensors"))


def test_a_bucket_goes_with_its_object_only_under_reclaim_policy_delete(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    kube.apply(store(namespace, bucket="goes-away", reclaimPolicy="Delete", **KEYS))
    healed(kube, Kind.OBJECT_STORE, namespace, "work")
    kube.delete(Kind.OBJECT_STORE, namespace, "work")
    wait_for("it is gone", lambda: kube.get(Kind.OBJECT_STORE, namespace, "work"),
             lambda found: found is None, 60)  # fmt: skip
    kube.apply(store(namespace, name="probe", bucket="goes-away", create=False, **KEYS))
    told(kube, Kind.OBJECT_STORE, namespace, "probe", "BucketNotFound")
