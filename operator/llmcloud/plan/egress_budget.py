"""external.tokensPerDay, leased to the pods that spend it.

A pod that takes another's place must not begin the day anew, and no pod may ask the API server. So
the budget is leased as those of access keys are (decision 041): the leases are recorded in the
deployment's status first, then each pod is told its own by an annotation, which the kubelet shows
to it. What a pod that is gone had been leased stays leased: the budget can only be underspent.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from llmcloud.api.accesskey import KeyLimits
from llmcloud.api.base import canonical_json
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.external import EgressLease, EgressLeases
from llmcloud.api.leases import KeyLease, KeySample
from llmcloud.api.names import ANNOTATION_LEASES
from llmcloud.plan.children import PodView
from llmcloud.plan.leases import demands_of, plan_leases
from llmcloud.plan.model import Manifest, Owner


def budget_of(spec: LLMDeploymentSpec) -> int | None:
    """Tokens per day of the external model or the fallback; None: without bound."""
    external = spec.external or (spec.fallback.external if spec.fallback else None)
    return external.tokens_per_day if external else None


def leases_of(
    owner: Owner, budget: int | None, samples: Mapping[str, KeySample], now: datetime
) -> list[KeyLease]:
    """The leases that should be, from those that are recorded and what pods need, by pod."""
    if budget is None:
        return []
    limits = KeyLimits(tokens_per_day=budget)
    return plan_leases(limits, recorded(owner), demands_of(samples), now.timestamp())


def recorded(owner: Owner) -> list[KeyLease]:
    """The leases of the status: only these may be spent."""
    return [KeyLease.model_validate(lease) for lease in owner.status.get("leases") or []]


def told(owner: Owner, budget: int, pod: str) -> str:
    """What a pod is told: what is recorded for it, and what is not recorded for others."""
    days: dict[str, EgressLease] = {}
    leases = recorded(owner)
    for lease in leases:
        if lease.gateway == pod:
            of_day = [other for other in leases if other.window == lease.window]
            most = max(0, budget - sum(o.tokens for o in of_day if o.gateway != pod))
            days[lease.window] = EgressLease(tokens=min(lease.tokens, most), most=most)
    return canonical_json(EgressLeases(days=days).wire()).decode() if days else ""


def untold(owner: Owner, budget: int | None, pods: Iterable[PodView]) -> list[PodView]:
    """The egress pods that do not know yet what is recorded for them."""
    if budget is None:
        return []
    return [pod for pod in pods if not pod.deleting and pod.leases != told(owner, budget, pod.name)]


def tell_pods(owner: Owner, budget: int | None, pods: Iterable[PodView]) -> tuple[Manifest, ...]:
    """One apply for each pod that is to be told."""
    return tuple(
        pod.annotated(owner.namespace, {ANNOTATION_LEASES: told(owner, budget or 0, pod.name)})
        for pod in untold(owner, budget, pods)
    )
