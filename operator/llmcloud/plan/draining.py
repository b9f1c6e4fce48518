"""Which replicas go, and how: those with the least work, without a request lost.

A replica that is deleted - by a lower number, a rollout, an eviction, a drained node - leaves the
routes at once, serves on for `SETTLE_SECONDS` until every gateway knows, then finishes what is in
flight and ends when it is empty or at drainSeconds. The ReplicaSet controller takes replicas that
are not ready first, then those with the lowest deletion cost: their requests in flight.
"""

from collections.abc import Iterable, Mapping

from llmcloud.plan.autoscaling import endpoint
from llmcloud.plan.children import ANNOTATION_DELETION_COST, PodView
from llmcloud.plan.manifests.engine import COMPONENT, engine_selector
from llmcloud.plan.manifests.pod import child_labels
from llmcloud.plan.model import Manifest, Owner


def deletion_costs(
    owner: Owner, pods: Iterable[PodView], loads: Mapping[str, int], wanted: int
) -> tuple[Manifest, ...]:
    """What makes the replicas with the least work go first, where there is a choice.

    To be applied before the lower number.
    """
    ready = [pod for pod in pods if pod.serves]
    if not 0 < wanted < len(ready):
        return ()
    costs = {pod.name: str(loads.get(endpoint(pod), 0)) for pod in ready}
    return tuple(
        pod.annotated(owner.namespace, {ANNOTATION_DELETION_COST: costs[pod.name]})
        for pod in sorted(ready, key=lambda pod: pod.name)
        if pod.deletion_cost != costs[pod.name]
    )


def disruption_budget(owner: Owner) -> Manifest:
    """Evictions take one replica at a time; those that are not ready anyway are not protected."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": f"{owner.name}-{COMPONENT}",
            "namespace": owner.namespace,
            "labels": child_labels(owner, COMPONENT),
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": engine_selector(owner)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
