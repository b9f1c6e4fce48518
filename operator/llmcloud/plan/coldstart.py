"""Where the time of a cold start went: the newest replica's, once it is ready.

schedule: from the pod's creation to its node; pull: images and the model's files; load: from the
engine's start to the weights in memory; warm-up: until one generation came back. An engine that
does not report when it had loaded has its warm-up counted as load.
"""

from collections.abc import Iterable
from datetime import datetime

from llmcloud.api.contract import EngineStart
from llmcloud.plan.children import PodView
from llmcloud.plan.model import Manifest


def to_measure(pods: Iterable[PodView], before: Manifest) -> PodView | None:
    """The newest replica that became ready at its first start and is not measured yet.

    `before` is the status' measurement.
    """
    fresh = [pod for pod in pods if pod.serves and not pod.restarts]
    known = [pod for pod in fresh if pod.created and pod.scheduled and pod.started]
    newest = max(known, key=lambda pod: (pod.created, pod.name), default=None)
    return None if newest is None or newest.name == before.get("replica") else newest


def cold_start(pod: PodView, start: EngineStart | None) -> Manifest:
    """The measurement of a pod that `to_measure` gave, and of what its engine reports."""
    measured: Manifest = {
        "replica": pod.name,
        "scheduleSeconds": _seconds(pod.created, pod.scheduled),
        "pullSeconds": _seconds(pod.scheduled, pod.started),
    }
    if start is None:
        return {**measured, "loadSeconds": _seconds(pod.started, pod.ready_flipped)}
    warm_up = round(start.warm_up_seconds)
    if start.load_seconds is None:
        load = max(0, _seconds(pod.started, pod.ready_flipped) - warm_up)
    else:
        load = round(start.load_seconds)
    return {**measured, "loadSeconds": load, "warmUpSeconds": warm_up}


def total_seconds(measured: Manifest) -> float | None:
    """From a replica's creation to its first Ready; None without a measurement."""
    parts = [value for key, value in measured.items() if key.endswith("Seconds")]
    return float(sum(parts)) if parts else None


def _seconds(since: datetime | None, until: datetime | None) -> int:
    return max(0, round((until - since).total_seconds())) if since and until else 0
