"""When to look again at a Job whose pods do not run yet.

Pods and Jobs wake their owner by themselves. Refusals (quota, Pod Security) and failed mounts
show only in events, which nobody watches: they are looked for at intervals that grow with the time
since the Job controller first tried or the pod got a node.
"""

from datetime import datetime

from llmcloud.plan.attempts import Attempt, State
from llmcloud.plan.children import JobView, Waiting

_SOONEST_SECONDS = 2.0
_LATEST_SECONDS = 30.0


def look_again_seconds(attempt: Attempt, now: datetime) -> float | None:
    """Seconds until events are worth another look; None if a hint will come by itself."""
    job = attempt.job
    if attempt.state is not State.WAITING or job is None or not needs_events(job):
        return None
    begun = [job.created, job.tried, *(pod.scheduled for pod in job.pods)]
    age = (now - max(moment for moment in begun if moment is not None)).total_seconds()
    return min(max(age / 2, _SOONEST_SECONDS), _LATEST_SECONDS)


def needs_events(job: JobView) -> bool:
    """Whether only events can tell why the job has no running pod.

    There are none before the Job controller has tried to make a pod, and of a pod without a node
    the scheduler speaks in the pod's own status.
    """
    if not job.active:
        return False
    if not job.pods:
        return job.tried is not None
    return any(
        pod.phase == "Pending" and pod.scheduled and _stuck_before_start(pod.waiting)
        for pod in job.pods
    )


def _stuck_before_start(waiting: Waiting | None) -> bool:
    return waiting is None or waiting.reason in ("ContainerCreating", "PodInitializing")
