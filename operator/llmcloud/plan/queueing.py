"""A Job in one of Kueue's queues: why it is held back, and what becomes of one that is evicted."""

from llmcloud.plan.children import JobView
from llmcloud.plan.model import Manifest
from llmcloud.plan.training_world import TrainingWorld

WORDS_MOST = 1000


def why_held(workloads: list[Manifest] | None) -> str:
    """Kueue's own words on why it does not admit a Job, from the Workloads that it made for it.

    Empty while it has said nothing. None: the cluster has no Kueue.
    """
    if workloads is None:
        return (
            "this cluster has no Kueue that could let it start: install it, or make the job "
            "without spec.queue"
        )
    conditions = [c for w in workloads for c in (w.get("status") or {}).get("conditions") or []]
    refused = [c for c in conditions if c["type"] == "QuotaReserved" and c["status"] == "False"]
    return str(refused[-1].get("message", ""))[:WORDS_MOST] if refused else ""


def queue_sentence(job: JobView) -> str:
    """That the job waits, where, and why."""
    queue = f"queue {job.queue}" if job.queue else "its queue"
    return f"Attempt {job.attempt} waits in {queue}" + (f": {job.held}" if job.held else "")


def is_evicted(world: TrainingWorld, job: JobView) -> bool:
    """Whether the queue took back a job that had begun; the store would refuse it another start."""
    if not job.queued or not job.active:
        return False
    status = world.owner.status
    told = status.get("attempt") == job.attempt and status.get("phase") in ("Running", "Evaluating")
    return told or any(pod.phase == "Running" for pod in job.pods)
