"""Single things that may happen to a custom resource, its pods or the gateways."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from math import log
from typing import Any

from llmcloud.api.accesskey import KeyUsage
from llmcloud.api.contract import GroupSample, Outcome
from llmcloud.api.leases import KeySample, WindowSample, day_of, minute_of
from llmcloud.api.names import LABEL_REVISION, Kind
from llmcloud.plan.model import Manifest, from_timestamp, timestamp
from llmcloud.scaling.observation import Decision
from tests.support import telling, worlds
from tests.support.ideal import IdealCluster, is_engine

Fate = Callable[[IdealCluster, datetime], None]

SUCCESS = {
    Kind.OBJECT_STORE: worlds.PROVISIONED,
    Kind.DATASET: worlds.PREPARED,
    Kind.TRAINING_JOB: worlds.trained(),
}


def pod(phase: str, **status: Any) -> Fate:
    """Every pod of the active Job gets this status."""

    def happen(cluster: IdealCluster, _: datetime) -> None:
        for job in cluster.active_jobs():
            for index in range(job["spec"]["completions"]):
                pod = worlds.raw_pod(job, phase, index, **status)
                cluster.pods[pod["metadata"]["name"]] = pod

    return happen


def placed(nodes: int) -> Fate:
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


def end(phase: str, **status: Any) -> Fate:
    """The active Job's pod ends, and so does the Job."""

    def happen(cluster: IdealCluster, now: datetime) -> None:
        for job in cluster.active_jobs():
            pod(phase, **status)(cluster, now)
            worlds.end_job(job, now, succeeded=phase == "Succeeded")

    return happen


def end_of_pods(*statuses: Manifest) -> Fate:
    """The active Job fails; its pods, each on a node of its own, have these statuses in turn."""

    def happen(cluster: IdealCluster, now: datetime) -> None:
        for job in cluster.active_jobs():
            for index in range(job["spec"]["completions"]):
                pod = worlds.raw_pod(job, index=index, **statuses[index % len(statuses)])
                pod["spec"] = {"nodeName": f"n{index}"}
                cluster.pods[pod["metadata"]["name"]] = pod
            worlds.end_job(job, now, succeeded=False)

    return happen


def vanish(cluster: IdealCluster, now: datetime) -> None:
    for job in cluster.active_jobs():
        cluster.pods.clear()
        worlds.end_job(job, now, succeeded=False, message="The node is gone")


def says(outcome: Outcome) -> Manifest:
    return worlds.ended(0 if outcome.succeeded else 1, "", outcome.model_dump_json(by_alias=True))


def succeed(cluster: IdealCluster, now: datetime) -> None:
    removing = cluster.kind is Kind.OBJECT_STORE and "deletionTimestamp" in meta(cluster)
    outcome = worlds.REMOVED if removing else SUCCESS[cluster.kind]
    end("Succeeded", **says(outcome))(cluster, now)


def makes(version: str) -> Fate:
    """The active Job makes a version, or drops what it was told to."""

    def happen(cluster: IdealCluster, now: datetime) -> None:
        for job in cluster.active_jobs():
            container = job["spec"]["template"]["spec"]["containers"][0]
            task = json.loads(container["env"][0]["value"])
            made = worlds.prepared(task.get("current") or version, task["drop"])
            end("Succeeded", **says(made))(cluster, now)

    return happen


def in_use(*versions: str) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.in_use = frozenset(versions)

    return happen


def report(cluster: IdealCluster, now: datetime) -> None:
    attempts = [int(j["metadata"]["labels"]["llmcloud.dev/attempt"]) for j in cluster.jobs()]
    begun = [running["startedAt"] for running in _running(cluster)]
    elapsed = round((now - min(map(from_timestamp, begun), default=now)).total_seconds())
    spent = telling.spent(startup=1, productive=elapsed // 2, checkpoint=1, elapsed=elapsed)
    cluster.progress = telling.told(spent, attempt=max(attempts, default=1))


def _running(cluster: IdealCluster) -> Iterator[Manifest]:
    """The state of every container that runs and said since when."""
    for pod in cluster.pods.values():
        for container in pod["status"].get("containerStatuses", []):
            if "startedAt" in container.get("state", {}).get("running", {}):
                yield container["state"]["running"]


def begin(cluster: IdealCluster, now: datetime) -> None:
    """Every pod of the active Job runs its container now."""
    pod("Running", podIP="10.0.0.2", **worlds.runs(now))(cluster, now)


def die(cluster: IdealCluster, now: datetime) -> None:
    """Every container that runs is killed."""
    since = min((from_timestamp(r["startedAt"]) for r in _running(cluster)), default=now)
    end("Failed", **worlds.ended(137, "OOMKilled", started=since, finished=now))(cluster, now)


def silence(cluster: IdealCluster, _: datetime) -> None:
    cluster.progress = None


def sweep(cluster: IdealCluster, _: datetime) -> None:
    going = [n for n, pod in cluster.pods.items() if "deletionTimestamp" in pod["metadata"]]
    for name in going:
        del cluster.pods[name]


def lose_job(cluster: IdealCluster, now: datetime) -> None:
    for job in cluster.jobs()[-1:]:
        cluster.lose("Job", job["metadata"]["name"], now)


def meta(cluster: IdealCluster) -> Manifest:
    meta: Manifest = cluster.owner["metadata"]
    return meta


def spec(**members: Any) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        if cluster.owner["spec"] != {**cluster.owner["spec"], **members}:
            cluster.owner["spec"] |= members
            meta(cluster)["generation"] += 1

    return happen


def annotate(name: str) -> Fate:
    def happen(cluster: IdealCluster, now: datetime) -> None:
        meta(cluster)["annotations"] = {name: timestamp(now)}

    return happen


def remove(cluster: IdealCluster, now: datetime) -> None:
    meta(cluster).setdefault("deletionTimestamp", timestamp(now))
    cluster.collect()


def remove_in_foreground(cluster: IdealCluster, now: datetime) -> None:
    if "deletionTimestamp" not in meta(cluster):
        held = meta(cluster).get("finalizers", [])
        meta(cluster)["finalizers"] = [*held, "foregroundDeletion"]
    remove(cluster, now)


def without(kind: Kind, name: str) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.references.pop((kind, name), None)

    return happen


def unready(kind: Kind, name: str) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.references[(kind, name)] = worlds.make_owner(kind, name)

    return happen


def everything(cluster: IdealCluster, _: datetime) -> None:
    cluster.references |= references()


def spend(gateway: str, requests: int, tokens: int, wanted: int = 0) -> Fate:
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


def unheard(cluster: IdealCluster, _: datetime) -> None:
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


def newer_version(cluster: IdealCluster, _: datetime) -> None:
    cluster.references[(Kind.DATASET, "corpus")] = worlds.ready_dataset(version=worlds.VERSION_2)


def decided(replicas: int, reason: str, *, holding: bool = False) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.decision = Decision(replicas, reason, holding)

    return happen


def undecided(cluster: IdealCluster, _: datetime) -> None:
    cluster.decision = None


def engines(cluster: IdealCluster) -> list[Manifest]:
    return [child for key, child in cluster.children.items() if is_engine(*key)]


def work(cluster: IdealCluster, _: datetime) -> None:
    cluster.loads = {f"10.0.0.{number}:8000": 3 - number for number in range(4)}


def egress_ready(cluster: IdealCluster, _: datetime) -> None:
    for (kind, name), child in cluster.children.items():
        if kind == "Deployment" and name.endswith("-egress"):
            child["status"] = {"readyReplicas": 1, "updatedReplicas": 1}


def replace(old: str, **members: Any) -> Fate:
    def happen(cluster: IdealCluster, now: datetime) -> None:
        if cluster.owner["spec"].pop(old, None) is not None:
            spec(**members)(cluster, now)
            meta(cluster)["generation"] += 1

    return happen


def replicas_ready(cluster: IdealCluster, _: datetime) -> None:
    cluster.pods = {}
    for engine in engines(cluster):
        wanted = engine["spec"]["replicas"]
        engine["status"] = {"readyReplicas": wanted}
        revision = engine["metadata"]["labels"].get(LABEL_REVISION, "")
        for number in range(len(cluster.pods), len(cluster.pods) + wanted):
            cluster.pods[f"e{number}"] = engine_pod(number, ready=True, revision=revision)


def replicas_unready(cluster: IdealCluster, _: datetime) -> None:
    for engine in engines(cluster):
        engine["status"] = {}


def late(cluster: IdealCluster, _: datetime) -> None:
    """The cluster gives up on every revision that has no ready replica."""
    for engine in engines(cluster):
        if not (engine.get("status") or {}).get("readyReplicas"):
            why = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            engine["status"] = {"conditions": [why]}


def lose_engine(cluster: IdealCluster, now: datetime) -> None:
    for engine in engines(cluster)[:1]:
        cluster.lose("Deployment", engine["metadata"]["name"], now)


def counts(requests: int, errors: int = 0, seconds: float = 1.0, *, ever: bool = False) -> Fate:
    """Gateways tell what the canary did since its step began; the stable one does well.

    `ever`: it does so in every step.
    """

    def happen(cluster: IdealCluster, _: datetime) -> None:
        canary = cluster.owner["status"].get("canary") or {}
        stable = GroupSample(name="", requests=1000, streams=1000)
        tried = GroupSample(
            name="", requests=requests, errors=errors, streams=requests,
            log_seconds=requests * log(seconds),
        )  # fmt: skip
        cluster.counted = (None if ever else canary.get("stepStartTime", ""), stable, tried)

    return happen


def uncounted(cluster: IdealCluster, _: datetime) -> None:
    cluster.counted = None


def then(*fates: Fate) -> Fate:
    """Several things, one after the other; the operator looks before the first, and after each."""

    def happen(cluster: IdealCluster, now: datetime) -> None:
        cluster.execute(cluster.plan(now), now)
        for fate in fates:
            fate(cluster, now)
            cluster.execute(cluster.plan(now), now)

    return happen


def newer_model(digest: str) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        job = worlds.complete_training()
        status = {**job.status, "model": {**job.status["model"], "digest": digest}}
        newer = worlds.make_owner(Kind.TRAINING_JOB, job.name, status=status)
        cluster.references[(Kind.TRAINING_JOB, job.name)] = newer

    return happen


def replica(**status: Any) -> Fate:
    def happen(cluster: IdealCluster, _: datetime) -> None:
        cluster.pods["e0"] = engine_pod(0, ready=False, **status)

    return happen


def engine_pod(number: int, *, ready: bool, revision: str = "", **status: Any) -> Manifest:
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
            "labels": {LABEL_REVISION: revision},
            "creationTimestamp": moments["a"],
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{number}",
            "conditions": conditions,
            **status,
        },
    }


def refuse_pods(cluster: IdealCluster, _: datetime) -> None:
    for engine in engines(cluster):
        failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
        engine["status"] = {"conditions": [failure]}
