"""The Jobs of an object and their pods, with what explains them: events, and Kueue's words."""

from dataclasses import replace

from llmcloud.api.names import LABEL_OWNER_UID, LABEL_QUEUED_UID
from llmcloud.cluster.client import Client, Gone, object_path
from llmcloud.cluster.warnings import explain, warnings_of
from llmcloud.plan.children import JobView, PodView, job_view, pod_view
from llmcloud.plan.model import Manifest, Owner
from llmcloud.plan.queueing import why_held
from llmcloud.plan.waiting import is_held, needs_events


async def read_pods(client: Client, namespace: str | None, labels: str) -> list[PodView]:
    """The pods with `labels`, of one namespace or of all."""
    items, _ = await client.list(object_path("v1", "Pod", namespace), labels=labels)
    return [pod_view(item) for item in items]


async def read_jobs(
    client: Client, owner: Owner
) -> tuple[tuple[JobView, ...], tuple[PodView, ...]]:
    """The Jobs and pods of the owner; events only where nothing else can tell."""
    labels = f"{LABEL_OWNER_UID}={owner.uid}"
    path = object_path("batch/v1", "Job", owner.namespace)
    raws, _ = await client.list(path, labels=labels)
    if not raws and not owner.status.get("attempt"):
        return (), ()
    pods = await read_pods(client, owner.namespace, labels)
    pods = await explain(client, owner.namespace, pods)
    jobs = []
    for raw in raws:
        job = job_view(raw, pods)
        if needs_events(job) and not job.pods:
            job = job_view(raw, [], await warnings_of(client, job.namespace, job.uid))
        if is_held(job):
            job = replace(job, held=why_held(await _workloads(client, job)))
        jobs.append(job)
    return tuple(sorted(jobs, key=lambda job: job.attempt)), tuple(pods)


async def _workloads(client: Client, job: JobView) -> list[Manifest] | None:
    """What Kueue made for a Job of its queues; None: the cluster has no Kueue."""
    path = object_path("kueue.x-k8s.io/v1beta2", "Workload", job.namespace)
    try:
        items, _ = await client.list(path, labels=f"{LABEL_QUEUED_UID}={job.uid}")
    except Gone:
        return None
    return items
