"""A Job in one of Kueue's queues: why it is held back."""

from llmcloud.plan.children import JobView
from llmcloud.plan.model import Manifest

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
