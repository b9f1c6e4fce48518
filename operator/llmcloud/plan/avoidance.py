"""Nodes that the next attempt keeps away from: where training hung, or left its peers.

A node that is dead counts as ready for most of a minute, and one that hangs for ever: without this
the next attempt may get the same one. The list is on the attempt's Job. It is bounded, ends with an
attempt that ran steadily, and is given up where it keeps pods from any node.
"""

from datetime import datetime

from llmcloud.api.names import Reason
from llmcloud.plan.children import JobView, PodView

NODES_MOST = 8
GIVEN_UP_SECONDS = 30.0
"""A pod that has found no other node for so long may have any."""


def _said(pod: PodView) -> Reason | None:
    outcome = pod.termination.outcome if pod.termination else None
    return outcome.reason if outcome is not None and not outcome.succeeded else None


def suspects(job: JobView) -> tuple[str, ...]:
    """The nodes of an ended job's pods that hung, and of those that others lost, which have no end.

    Where all of several hung, each may have waited for any other: nobody is suspected.
    """
    said = {pod.uid: _said(pod) for pod in job.pods}
    hung = [pod for pod in job.pods if said[pod.uid] is Reason.HUNG]
    if 1 < len(hung) == len(job.pods):
        hung = []
    left = Reason.PEER_LOST in said.values()
    lost = [pod for pod in job.pods if left and pod.termination is None]
    return tuple(dict.fromkeys(pod.node for pod in (*hung, *lost) if pod.node))


def avoided_after(job: JobView, *, steady: bool) -> tuple[str, ...]:
    """What the attempt after an ended job avoids; `steady`: it ran well on the nodes it had."""
    before = () if steady else job.avoided
    return tuple(dict.fromkeys((*suspects(job), *before)))[:NODES_MOST]


def given_up_seconds(job: JobView, now: datetime) -> float | None:
    """Seconds until the job's pods may have any node, at least 0; None if they are well."""
    if not job.avoided or not any(pod.unschedulable for pod in job.pods):
        return None
    return max(0.0, GIVEN_UP_SECONDS - (now - job.created).total_seconds())


def start_sentence(number: int, avoided: tuple[str, ...]) -> str:
    """That an attempt starts, and where not."""
    away = f", away from {', '.join(avoided)}, where the one before it was stuck or lost"
    return f"Attempt {number} starts{away if avoided else ''}"
