"""The Jobs of an object and their pods, with the events that explain them."""

from llmcloud.api.names import LABEL_OWNER_UID
from llmcloud.cluster.client import Client, object_path
from llmcloud.cluster.warnings import explain, warnings_of
from llmcloud.plan.children import JobView, PodView, job_view, pod_view
from llmcloud.plan.model import Owner
from llmcloud.plan.waiting import needs_events


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
        jobs.append(job)
    return tuple(sorted(jobs, key=lambda job: job.attempt)), tuple(pods)
