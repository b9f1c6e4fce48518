"""Where a deployment's replica is, from no pod to one that serves."""

from tests.support.kube import Kube, condition

PHASES = ("has no pod", "fetches the model", "loads it", "is ready")


def replica_phase(kube: Kube, namespace: str) -> int:
    """Of the one deployment of a namespace: an index of PHASES."""
    pods = kube.list("Pod", namespace, "app.kubernetes.io/component=engine")
    if not pods:
        return 0
    (pod,) = pods
    if condition(pod).get("status") == "True":
        return 3
    engines = pod.get("status", {}).get("containerStatuses") or []
    return 2 if any("running" in engine.get("state", {}) for engine in engines) else 1
