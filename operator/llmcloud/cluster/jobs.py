"""The Jobs of an object and their pods, with the events that explain them."""

from llmcloud.api.names import LABEL_OWNER_UID
from llmcloud.cluster.client import Client, object_path
from llmcloud.plan.children import JobView, PodView, job_view, pod_view
from llmcloud.plan.model import Manifest, Owner
from llmcloud.plan.waiting import needs_events


async def read_pods(client: Client, namespace: str | None, labels: str) -> list[PodView]:
    """The pods with `labels`, of one namespace or of all."""
    items, _ = await client.list(object_path("v1", "Pod", namespace), labels=labels)
    return [pod_view(item) for item in items]


async def _warnings(client: Client, namespace: str, uid: str) -> tuple[str, ...]:
    fields = f"involvedObject.uid={uid},type=Warning"
    items, _ = await client.list(object_path("v1", "Event", namespace), fields=fields)
    ordered = sorted(items, key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
    return tuple(item.get("message", "") for item in ordered)


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
    jobs = []
    for raw in raws:
        job = job_view(raw, pods)
        if needs_events(job):
            job = await _with_warnings(client, raw, job)
        jobs.append(job)
    return tuple(sorted(jobs, key=lambda job: job.attempt)), tuple(pods)


async def _with_warnings(client: Client, raw: Manifest, job: JobView) -> JobView:
    if not job.pods:
        return job_view(raw, [], await _warnings(client, job.namespace, job.uid))
    pods = [
        PodView(**{**pod.__dict__, "warnings": await _warnings(client, job.namespace, pod.uid)})
        for pod in job.pods
    ]
    return job_view(raw, pods)
