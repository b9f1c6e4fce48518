"""How soon a cause is told, and how soon children go, as the cluster itself shows it."""

import time
from datetime import UTC, datetime

from tests.support.kube import Kube, Object
from tests.support.waiting import wait_for

CHILDREN = ("Job", "Deployment", "Pod")


def children(kube: Kube, kind: str, namespace: str, name: str) -> list[Object]:
    """The Jobs, Deployments and pods made for an object that are still there."""
    labels = f"llmcloud.dev/owner-kind={kind},llmcloud.dev/owner-name={name}"
    return [child for one in CHILDREN for child in kube.list(one, namespace, labels)]


def seconds_since_shown(kube: Kube, kind: str, namespace: str, name: str) -> float | None:
    """Seconds since the first warning, refusal or bad end of the object's children was shown.

    None if nothing of the kind can be seen: the cause lies in the object itself.
    """
    found = children(kube, kind, namespace, name)
    uids = {child["metadata"]["uid"] for child in found}
    shown = [moment for child in found for moment in _bad_moments(child)]
    for event in kube.list("Event", namespace):
        if event.get("type") == "Warning" and event["involvedObject"].get("uid") in uids:
            shown.append(event.get("firstTimestamp") or event["eventTime"])
    if not shown:
        return None
    first = min(datetime.fromisoformat(moment) for moment in shown)
    return (datetime.now(UTC) - first).total_seconds()


def _bad_moments(child: Object) -> list[str]:
    status = child.get("status") or {}
    moments = [
        c["lastTransitionTime"]
        for c in status.get("conditions") or []
        if c["type"] == "PodScheduled" and c["status"] == "False"
    ]
    for container in status.get("containerStatuses") or []:
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            end = state.get("terminated") or {}
            if end.get("exitCode") and end.get("finishedAt"):  # of an evicted one nobody knows when
                moments.append(end["finishedAt"])
    return moments


def delete_and_time(kube: Kube, kind: str, namespace: str, name: str) -> tuple[float, float]:
    """Delete an object; seconds until all its children were marked, and until all were gone."""
    assert children(kube, kind, namespace, name), "there is nothing to be deleted with it"
    started = time.monotonic()
    kube.delete(kind, namespace, name)
    wait_for(
        f"the children of {kind} {name} are marked or gone",
        lambda: children(kube, kind, namespace, name),
        lambda left: all("deletionTimestamp" in child["metadata"] for child in left),
        60,
    )
    marked = time.monotonic() - started
    wait_for(
        f"the children of {kind} {name} are gone",
        lambda: children(kube, kind, namespace, name),
        lambda left: not left,
        120,
    )
    return marked, time.monotonic() - started
