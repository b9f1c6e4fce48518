"""What may happen to a custom resource and its pods between two looks: drawn by the laws."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from llmcloud.api.accesskey import KeyUsage
from llmcloud.api.contract import CheckpointStatus, Outcome, Progress, Retry
from llmcloud.api.leases import KeySample, WindowSample, day_of, minute_of
from llmcloud.api.names import ANNOTATION_REFRESH, ANNOTATION_SKIP_CLEANUP, Kind, Reason
from llmcloud.plan.model import Manifest, timestamp
from llmcloud.scaling.observation import Decision
from tests.support import worlds
from tests.support.ideal import IdealCluster

Fate = Callable[[IdealCluster, datetime], None]

SUCCESS = {
    Kind.OBJECT_STORE: worlds.PROVISIONED,
    Kind.DATASET: worlds.PREPARED,
    Kind.TRAINING_JOB: worlds.trained(),
}


def _pod(phase: str, **status: Any) -> Fate:
    """Every pod of the active Job gets this status."""

    def happen(cluster: IdealCluster, _: datetime) -> None:
        for job in cluster.active_jobs():
            for index in range(job["spec"]["completions"]):
                pod = worlds.raw_pod(job, phase, index, **status)
                cluster.pods[pod["metadata"]["name"]] = pod

    return happen


def _placed(nodes: int) -> Fate:
    """The first pods of every Job get a node each, the others none."""

    def happen(cluster: IdealCluster, now: datetime) -> None:
        for job in [job for job in cluster.jobs() if not job.get("status")]:
            for index in range(job["spec"]["completions"]):
                fits = index < nodes
                status = worlds.scheduled(now) if fits else worlds.unschedulable("No room.")
                phase = "Running" if fits else "Pending"
                pod = worlds.raw_pod(job, phase, index, **status)
                cluster.pods[pod["metadata"]["name"]] = pod

    return happen


def _end(phase: str, **status: Any) -> Fate:
    """The active Job's pod ends, and so does the Job."""

    def happen(cluster: IdealCluster, now: datetime) -> None:
        for job in cluster.active_jobs():
            _pod(phase, **status)(cluster, now)
            worlds.end_job(job, now, succeeded=phase == "Succeeded")

    return happen


def _vanish(cluster: IdealCluster, now: datetime) -> None:
    for job in cluster.active_jobs():
        cluster.pods.clear()
        worlds.end_job(job, now, succeeded=False, message="The node is gone")


def _says(outcome: Outcome) -> Manifest:
    return worlds.ended(0 if outcome.succeeded else 1, "", outcome.model_dump_json(by_alias=True))


def _succeed(cluster: IdealCluster, now: datetime) -> None:
    removing = cluster.kind is Kind.OBJECT_STORE and "deletionTimestamp" in _meta(cluster)
    outcome = worlds.REMOVED if removing else SUCCESS[cluster.kind]
    _end("Succeeded", **_says(outcome))(cluster, now)


def _makes(version: str) -> Fate:
    """The active Job makes a version, or drops what it was told to."""

    def happen(cluster: IdealCluster, now: datetime) -> None:
        for job in cluster.active_jobs():
            container = job["spec"]["template"]["spec"]["containers"][0]
            task = json.loads(container["env"][0]["value"])
            made = worlds.prepared(task.get("current") or version, task["drop"])
            _end("Succeeded", **_says(made))(cluster, now)

    return happen


def _in_use(*versions: str) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.in_use = frozenset(versions)

    return happen


def _report(cluster: IdealCluster, now: datetime) -> None:
    saved = CheckpointStatus(step=40, url="s3://c/40/", time=timestamp(now), bytes=9)
    attempts = [int(j["metadata"]["labels"]["llmcloud.dev/attempt"]) for j in cluster.jobs()]
    cluster.progress = Progress(
        phase="Running", attempt=max(attempts, default=1), step=50, total_steps=100, percent=50,
        loss=3.5, tokens_seen=1000, checkpoint=saved,
    )  # fmt: skip


def _silence(cluster: IdealCluster, _: datetime) -> None:
    cluster.progress = None


def _sweep(cluster: IdealCluster, _: datetime) -> None:
    going = [n for n, pod in cluster.pods.items() if "deletionTimestamp" in pod["metadata"]]
    for name in going:
        del cluster.pods[name]


def _lose_job(cluster: IdealCluster, now: datetime) -> None:
    for job in cluster.jobs()[-1:]:
        cluster.lose("Job", job["metadata"]["name"], now)


def _meta(cluster: IdealCluster) -> Manifest:
    meta: Manifest = cluster.owner["metadata"]
    return meta


def _spec(**members: Any) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        if cluster.owner["spec"] != {**cluster.owner["spec"], **members}:
            cluster.owner["spec"] |= members
            _meta(cluster)["generation"] += 1

    return happen


def _annotate(name: str) -> Fate:
    def happen(cluster: IdealCluster, now: datetime) -> None:
        _meta(cluster)["annotations"] = {name: timestamp(now)}

    return happen


def _remove(cluster: IdealCluster, now: datetime) -> None:
    _meta(cluster).setdefault("deletionTimestamp", timestamp(now))
    cluster.collect()


def _remove_in_foreground(cluster: IdealCluster, now: datetime) -> None:
    if "deletionTimestamp" not in _meta(cluster):
        held = _meta(cluster).get("finalizers", [])
        _meta(cluster)["finalizers"] = [*held, "foregroundDeletion"]
    _remove(cluster, now)


def _without(kind: Kind, name: str) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.references.pop((kind, name), None)

    return happen


def _unready(kind: Kind, name: str) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.references[(kind, name)] = worlds.make_owner(kind, name)

    return happen


def _everything(cluster: IdealCluster, _: datetime) -> None:
    cluster.references |= references()


def _spend(gateway: str, requests: int, tokens: int, wanted: int = 0) -> Fate:
    """A gateway reports what it has spent of a key in this minute and day, and what waits."""

    def happen(cluster: IdealCluster, now: datetime) -> None:
        windows = [
            WindowSample(
                window=window, requests=requests, tokens=tokens,
                wanted_requests=wanted, wanted_tokens=100 * wanted,
            )
            for window in (minute_of(now.timestamp()), day_of(now.timestamp()))
        ]  # fmt: skip
        cluster.key_samples[gateway] = KeySample(
            namespace="ns", name="it", requests=requests, input_tokens=tokens, output_tokens=0,
            last_used=int(now.timestamp()), windows=windows,
        )  # fmt: skip
        used = sum(sample.requests for sample in cluster.key_samples.values())
        cluster.key_usage = KeyUsage(requests=used, last_used_time=timestamp(now))

    return happen


def _unheard(cluster: IdealCluster, _: datetime) -> None:
    cluster.key_samples.clear()


def references() -> dict[tuple[Kind, str], Any]:
    """All that the four kinds refer to, ready."""
    owners = [
        worlds.ready_store("work"),
        worlds.ready_store("raw"),
        worlds.ready_dataset(),
        worlds.complete_training(),
    ]
    return {(owner.kind, owner.name): owner for owner in owners}


def _newer_version(cluster: IdealCluster, _: datetime) -> None:
    cluster.references[(Kind.DATASET, "corpus")] = worlds.ready_dataset(version=worlds.VERSION_2)


def _decided(replicas: int, reason: str, *, holding: bool = False) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.decision = Decision(replicas, reason, holding)

    return happen


def _undecided(cluster: IdealCluster, _: datetime) -> None:
    cluster.decision = None


def _engines(cluster: IdealCluster) -> list[Manifest]:
    name = f"{cluster.owner['metadata']['name']}-engine"
    return [child for key, child in cluster.children.items() if key == ("Deployment", name)]


def _work(cluster: IdealCluster, _: datetime) -> None:
    cluster.loads = {f"10.0.0.{number}:8000": 3 - number for number in range(4)}


def _egress_ready(cluster: IdealCluster, _: datetime) -> None:
    for (kind, name), child in cluster.children.items():
        if kind == "Deployment" and name.endswith("-egress"):
            child["status"] = {"readyReplicas": 1, "updatedReplicas": 1}


def _replace(old: str, **members: Any) -> Fate:
    def happen(cluster: IdealCluster, now: datetime) -> None:
        if cluster.owner["spec"].pop(old, None) is not None:
            _spec(**members)(cluster, now)
            _meta(cluster)["generation"] += 1

    return happen


def _replicas_ready(cluster: IdealCluster, _: datetime) -> None:
    for engine in _engines(cluster):
        wanted = engine["spec"]["replicas"]
        engine["status"] = {"readyReplicas": wanted}
        cluster.pods = {f"e{n}": _engine_pod(n, ready=True) for n in range(wanted)}


def _replica(**status: Any) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.pods["e0"] = _engine_pod(0, ready=False, **status)

    return happen


def _engine_pod(number: int, *, ready: bool, **status: Any) -> Manifest:
    moments = {name: timestamp(worlds.at(10 * n)) for n, name in enumerate("abcd")}
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": moments["b"]}
    conditions = [scheduled]
    if ready:
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": moments["d"]})
        running = {"running": {"startedAt": moments["c"]}}
        status = {"containerStatuses": [{"name": "engine", "state": running}], **status}
    return {
        "metadata": {
            "name": f"e{number}",
            "namespace": "ns",
            "uid": f"e{number}",
            "creationTimestamp": moments["a"],
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{number}",
            "conditions": conditions,
            **status,
        },
    }


def _refuse_pods(cluster: IdealCluster, _: datetime) -> None:
    for engine in _engines(cluster):
        failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
        engine["status"] = {"conditions": [failure]}


VARIANTS: dict[Kind, list[Manifest]] = {
    Kind.TRAINING_JOB: [
        {},
        {"placement": [{"zone": "a", "waitSeconds": 45}, {"zone": "b"}]},
        {"nodes": {"min": 1, "max": 4}},
        {
            "nodes": {"min": 2, "max": 4},
            "placement": [{"zone": "a", "waitSeconds": 45}, {"zone": "b"}],
        },
    ],
}
"""Members of specifications to begin with."""
EXTERNAL: Manifest = {
    "provider": "openai",
    "model": "gpt",
    "apiKeySecretRef": {"name": "keys", "key": "openai"},
}
DISRUPTED = {"conditions": [{"type": "DisruptionTarget", "status": "True", "message": "drained"}]}
JOB_FATES: dict[str, Fate] = {
    "pod pending": _pod("Pending"),
    "pod unschedulable": _pod("Pending", **worlds.unschedulable("0/1 nodes: no cpu.")),
    "image missing": _pod("Pending", **worlds.waiting("ImagePullBackOff", "not found")),
    "pod running": _pod("Running", podIP="10.0.0.2"),
    "succeeds": _succeed,
    "out of memory": _end("Failed", **worlds.ended(137, "OOMKilled")),
    "crashes": _end("Failed", **worlds.ended(1, "Error", "Traceback")),
    "evicted": _end("Failed", reason="Evicted", message="low on memory", **DISRUPTED),
    "cannot": _end("Failed", **_says(worlds.refusal(Reason.SOURCE_EMPTY, Retry.NEVER))),
    "store down": _end(
        "Failed", **_says(worlds.refusal(Reason.STORE_UNREACHABLE, Retry.ENVIRONMENT))
    ),
    "vanishes": _vanish,
    "succeeds without a word": _end("Succeeded"),
    "job is lost": _lose_job,
    "old pods go": _sweep,
    "reports": _report,
    "is silent": _silence,
    "deleted": _remove,
    "deleted in the foreground": _remove_in_foreground,
}
REFERENCE_FATES: dict[str, Fate] = {
    "everything ready": _everything,
    "store missing": _without(Kind.OBJECT_STORE, "work"),
    "store unready": _unready(Kind.OBJECT_STORE, "work"),
}
FATES: dict[Kind, dict[str, Fate]] = {
    Kind.OBJECT_STORE: {
        **JOB_FATES,
        "other keys": _spec(credentials={"secretRef": {"name": "new-keys"}}),
        "to be deleted with it": _spec(reclaimPolicy="Delete"),
        "to be kept": _spec(reclaimPolicy="Retain"),
        "refreshed": _annotate(ANNOTATION_REFRESH),
        "let go": _annotate(ANNOTATION_SKIP_CLEANUP),
        "invalid": _spec(bucket="X"),
    },
    Kind.DATASET: {
        **JOB_FATES,
        **REFERENCE_FATES,
        "other split": _spec(prepare={"split": {"validationFraction": 0.25}}),
        "first split": _spec(prepare={"split": {"validationFraction": 0.01}}),
        "refreshed": _annotate(ANNOTATION_REFRESH),
        "invalid": _spec(sequenceLength=1),
        "makes one version": _makes(worlds.VERSION_1),
        "makes another version": _makes(worlds.VERSION_2),
        "one version is kept": _spec(keepVersions=1),
        "looked at every hour": _spec(refreshSeconds=3600),
        "looked at when asked": _spec(refreshSeconds=0),
        "an old version is in use": _in_use(worlds.VERSION_1),
        "no version is in use": _in_use(),
    },
    Kind.TRAINING_JOB: {
        **JOB_FATES,
        **REFERENCE_FATES,
        "dataset missing": _without(Kind.DATASET, "corpus"),
        "dataset unready": _unready(Kind.DATASET, "corpus"),
        "newer version": _newer_version,
        "misses its gate": _end("Succeeded", **_says(worlds.trained(passed=False))),
        "suspended": _spec(suspend=True),
        "resumed": _spec(suspend=False),
        "no more retries": _spec(backoffLimit=0),
        "one node": _placed(1),
        "three nodes": _placed(3),
        "all nodes": _placed(99),
        "fewer nodes wanted": _spec(nodes={"min": 1, "max": 2}),
    },
    Kind.DEPLOYMENT: {
        **REFERENCE_FATES,
        "job missing": _without(Kind.TRAINING_JOB, "train"),
        "job unready": _unready(Kind.TRAINING_JOB, "train"),
        "one request": _decided(1, "1 waits"),
        "many requests": _decided(5, "70 wait"),
        "fewer requests": _decided(2, "the load fits"),
        "silence": _decided(0, "no request for 900 s"),
        "no samples": _decided(3, "no samples: holding", holding=True),
        "a new operator": _undecided,
        "replicas ready": _replicas_ready,
        "replicas work": _work,
        "replica starts": _replica(),
        "replica out of memory": _replica(**worlds.ended(137, "OOMKilled")),
        "pods refused": _refuse_pods,
        "by hand": _spec(replicas=3, scaling={"mode": "External"}),
        "by load": _spec(scaling={"minReplicas": 1, "maxReplicas": 4}),
        "by selector": _spec(model={"trainingJob": {"selector": {"matchLabels": {"app": "a"}}}}),
        "from a store": _spec(model={"store": {"name": "work", "path": "models/b/"}}),
        "egress ready": _egress_ready,
        "with a fallback": _spec(fallback={"external": EXTERNAL, "when": ["failure"]}),
        "without a fallback": _replace("fallback"),
        "of somebody else": _replace("model", external=EXTERNAL),
        "its own again": _replace("external", **worlds.DEPLOYMENT_SPEC),
        "deleted": _remove,
        "invalid": _spec(engine={"name": "unheard-of"}),
    },
    Kind.ACCESS_KEY: {
        "disabled": _spec(disabled=True),
        "enabled": _spec(disabled=False),
        "expires at noon": _spec(expiresAt=timestamp(worlds.NOW)),
        "expires in an hour": _spec(expiresAt=timestamp(worlds.at(3600))),
        "expires in a year": _spec(expiresAt=timestamp(worlds.at(31536000))),
        "limited": _spec(limits={"requestsPerMinute": 60, "tokensPerDay": 50000}),
        "limited to tokens": _spec(limits={"tokensPerMinute": 2000}),
        "not limited": _spec(limits={}),
        "a is used": _spend("a", 5, 900),
        "b is used": _spend("b", 1, 100),
        "requests wait at a": _spend("a", 30, 3000, wanted=90),
        "no gateway is heard": _unheard,
        "for one deployment": _spec(deployments={"names": ["wiki"]}),
        "for a team's": _spec(deployments={"selector": {"matchLabels": {"team": "a"}}}),
        "deleted": _remove,
        "invalid": _spec(sha256="no digest"),
    },
}
