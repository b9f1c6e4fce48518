"""When to look again at a Job whose pods do not run yet.

Pods and Jobs wake their owner by themselves. Refusals (quota, Pod Security) and failed mounts
show only in events, which nobody watches: they are looked for at growing intervals.
"""

from datetime import datetime

from llmcloud.plan.attempts import Attempt, State
from llmcloud.plan.children import JobView, Waiting

_SOONEST_SECONDS = 2.0
_LATEST_SECONDS = 30.0


def look_again_seconds(attempt: Attempt, now: datetime) -> float | None:
    """Seconds until events are worth another look; None if a hint will come by itself."""
    if attempt.state is State.START:
        return _SOONEST_SECONDS
    job = attempt.job
    if attempt.state is not State.WAITING or job is None or not needs_events(job):
        return None
    age = (now - job.created).total_seconds()
    return min(max(age / 2, _SOONEST_SECONDS), _LATEST_SECONDS)


def needs_events(job: JobView) -> bool:
    """Whether only events can tell why the job has no running pod."""
    if not job.active:
        return False
    if not job.pods:
        return True
    return any(
        pod.phase == "Pending" and not pod.unschedulable and _stuck_before_start(pod.waiting)
        for pod in job.pods
    )


def _stuck_before_start(waiting: Waiting | None) -> bool:
    return waiting is None or waiting.reason in ("ContainerCreating", "PodInitializing")
