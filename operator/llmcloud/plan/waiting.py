"""When to look again at pods that do not start, and which events tell why.

Pods and Jobs wake their owner by themselves. Refusals (quota, Pod Security) and failed mounts
show only in events, which nobody watches: they are looked for at intervals that grow with the time
since the Job controller first tried or the pod got a node, and with how many objects wait. So is
why a queue holds a Job back; when it lets it go, the Job itself wakes its owner.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from llmcloud.plan.attempts import Attempt, State
from llmcloud.plan.children import JobView, PodView, Waiting
from llmcloud.plan.model import Manifest, from_timestamp

_SOONEST_SECONDS = 2.0
_LATEST_SECONDS = 8.0
"""So that what shows at any time is told within ten seconds."""
_HELD_SECONDS = 60.0
"""In a queue, words on a change of why it still waits are not urgent."""
_CROWDED_SECONDS = 30.0
_LOOKS_PER_SECOND = 8.0
"""Of all objects together, at most; unless that would make one wait longer than
`_CROWDED_SECONDS`."""
_MOST_PODS = 8
"""Pods of one template wait for the same thing."""


def look_again_seconds(attempt: Attempt, now: datetime, crowd: int = 1) -> float | None:
    """Seconds until another look is worth it; None if a hint will come by itself.

    `crowd`: objects whose pods are awaited, this one among them.
    """
    job = attempt.job
    if attempt.state is not State.WAITING or job is None:
        return None
    held = is_held(job)
    if not held and not needs_events(job):
        return None
    begun = [job.created, job.tried, *(pod.scheduled for pod in job.pods)]
    age = (now - max(moment for moment in begun if moment is not None)).total_seconds()
    pause_seconds = _pause_seconds(age, crowd)
    return max(pause_seconds, min(age / 2, _HELD_SECONDS)) if held else pause_seconds


def is_held(job: JobView) -> bool:
    """Whether the job waits in a queue."""
    return job.queued and bool(job.queue) and job.active and not job.deleting


def replicas_look_again_seconds(
    pods: Iterable[PodView], now: datetime, crowd: int, *, lacking: bool
) -> float | None:
    """The same for the pods of a deployment. `lacking`: some have not been made."""
    begun = [pod.scheduled for pod in pods if is_stuck(pod) and pod.scheduled]
    if not begun:
        return _pause_seconds(2 * _LATEST_SECONDS, crowd) if lacking else None
    return _pause_seconds((now - max(begun)).total_seconds(), crowd)


def _pause_seconds(age: float, crowd: int) -> float:
    alone = min(max(age / 2, _SOONEST_SECONDS), _LATEST_SECONDS)
    return max(alone, min(crowd / _LOOKS_PER_SECOND, _CROWDED_SECONDS))


def needs_events(job: JobView) -> bool:
    """Whether only events can tell why the job has no running pod.

    There are none before the Job controller has tried to make a pod, and of a pod without a node
    the scheduler speaks in the pod's own status.
    """
    if not job.active:
        return False
    if not job.pods:
        return job.tried is not None
    return any(is_stuck(pod) for pod in job.pods)


def is_stuck(pod: PodView) -> bool:
    """Whether the pod has a node, and nothing of it runs or says why."""
    return (
        pod.phase == "Pending"
        and not pod.deleting
        and not pod.set_up
        and pod.scheduled is not None
        and _stuck_before_start(pod.waiting)
    )


def _stuck_before_start(waiting: Waiting | None) -> bool:
    return waiting is None or waiting.reason in ("ContainerCreating", "PodInitializing")


def to_explain(pods: Sequence[PodView]) -> list[PodView]:
    """The pods whose events are worth a look: the first stuck ones of each template."""
    found: dict[tuple[str, str, str], list[PodView]] = {}
    for pod in pods:
        if is_stuck(pod):
            found.setdefault((pod.job, pod.component, pod.revision), []).append(pod)
    return [pod for alike in found.values() for pod in alike[:_MOST_PODS]]


def standing_warnings(events: Iterable[Manifest]) -> tuple[str, ...]:
    """The messages of warnings that still stand, the newest last.

    What has been done since (a pod made, a node found, a volume mounted, an image pulled) is told
    by an event that is no warning: it answers the older ones.
    """
    told = sorted(((_told_at(event), event) for event in events), key=lambda pair: pair[0])
    answers = [moment for moment, event in told if event.get("type") != "Warning"]
    since = max(answers) if answers else datetime.min
    return tuple(
        event.get("message", "")
        for moment, event in told
        if event.get("type") == "Warning" and moment >= since
    )


def _told_at(event: Manifest) -> datetime:
    """When it was last told, in whole seconds: not all events have more."""
    text = (
        event.get("lastTimestamp")
        or (event.get("series") or {}).get("lastObservedTime")
        or event.get("eventTime")
        or event["metadata"]["creationTimestamp"]
    )
    return from_timestamp(text).replace(microsecond=0, tzinfo=None)
