"""The gateways' route table: which served name goes to which replicas.

On /v1 a served name belongs to the oldest LLMDeployment that asks for it, over all namespaces;
/ns/NAMESPACE/v1 serves every one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmcloud.api.base import canonical_json
from llmcloud.api.contract import (
    ROUTES_CONFIG_MAP,
    ROUTES_KEY,
    Route,
    RouteGroup,
    RouteTable,
)
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from llmcloud.plan.autoscaling import endpoint
from llmcloud.plan.children import PodView
from llmcloud.plan.deployment_world import served_name
from llmcloud.plan.manifests.egress import COMPONENT as EGRESS
from llmcloud.plan.model import Manifest, Owner, Plan, from_timestamp, parse
from llmcloud.plan.rollout import counting_window, part

EGRESS_IN_FLIGHT = 1024
"""Per egress pod; what the provider bears is its own to say."""


@dataclass(frozen=True)
class RoutesWorld:
    """All LLMDeployments, and the pods of their engines by (namespace, owner uid).

    The namespace counts: a pod elsewhere that bears another's labels gets none of its traffic.
    """

    namespace: str
    deployments: tuple[Owner, ...]
    pods: Mapping[tuple[str, str], tuple[PodView, ...]]


def plan_routes(world: RoutesWorld) -> Plan:
    """One ConfigMap in the operator's namespace."""
    table = RouteTable(routes=route_list(world))
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ROUTES_CONFIG_MAP,
            "namespace": world.namespace,
            "labels": {
                "app.kubernetes.io/name": "llmcloud",
                "app.kubernetes.io/part-of": "llmcloud",
                LABEL_COMPONENT: "routes",
                LABEL_MANAGED_BY: MANAGED_BY,
            },
        },
        "data": {ROUTES_KEY: canonical_json(table.wire()).decode()},
    }
    return Plan(applies=(manifest,))


def holders(deployments: Iterable[Owner]) -> dict[str, Owner]:
    """The LLMDeployment that has each served name on /v1: the oldest, then by name."""
    ordered = sorted(_valid(deployments), key=lambda p: (p[0].created, p[0].namespace, p[0].name))
    found: dict[str, Owner] = {}
    for owner, spec in ordered:
        found.setdefault(served_name(owner, spec), owner)
    return found


def _valid(deployments: Iterable[Owner]) -> list[tuple[Owner, LLMDeploymentSpec]]:
    parsed = ((owner, parse(LLMDeploymentSpec, owner.spec)) for owner in deployments)
    return [(o, s) for o, s in parsed if isinstance(s, LLMDeploymentSpec) and not o.deleting]


def route_list(world: RoutesWorld) -> list[Route]:
    """Routes in the order of namespace and name; a deployment without a model has none."""
    routes = []
    holding = holders(world.deployments)
    for owner, spec in _valid(world.deployments):
        if spec.external is None and not owner.status.get("model"):
            continue
        name = served_name(owner, spec)
        pods = [p for p in world.pods.get((owner.namespace, owner.uid), ()) if _answers(p)]
        egress = sorted(endpoint(pod) for pod in pods if pod.component == EGRESS)
        engines = [pod for pod in pods if pod.component != EGRESS]
        groups = _groups(owner, engines)
        routes.append(
            Route(
                namespace=owner.namespace,
                name=owner.name,
                model=name,
                labels=owner.raw["metadata"].get("labels") or {},
                shared=holding[name].uid == owner.uid,
                anonymous=spec.access.anonymous,
                endpoints=egress if spec.external else _serving(owner, engines),
                groups=[] if spec.external else groups,
                window=counting_window(owner.status),
                in_flight_per_replica=EGRESS_IN_FLIGHT
                if spec.external
                else spec.scaling.target.in_flight,
                hold_max_requests=spec.hold.max_requests,
                hold_deadline_seconds=spec.hold.deadline_seconds,
                adapters=_loaded(owner, spec),
                prompts=spec.prompts,
                fallback_endpoints=egress if spec.fallback else [],
                fallback_when=spec.fallback.when if spec.fallback else [],
                created=int(from_timestamp(owner.created).timestamp()),
            )
        )
    return sorted(routes, key=lambda route: (route.namespace, route.name))


def _loaded(owner: Owner, spec: LLMDeploymentSpec) -> list[str]:
    """Adapters that every replica serves; one that is no longer asked for is none at once."""
    status = owner.status.get("adapters") or []
    ready = {one["name"] for one in status if one.get("ready")}
    return [adapter.name for adapter in spec.adapters if adapter.name in ready]


def _answers(pod: PodView) -> bool:
    return pod.serves and bool(pod.ip)


def _serving(owner: Owner, engines: Iterable[PodView]) -> list[str]:
    """The endpoints of the revisions that serve or are tried; what was rolled back does not."""
    model, canary = owner.status.get("model") or {}, owner.status.get("canary") or {}
    revisions = {model.get("revision", ""), *model.get("replaces", ()), canary.get("revision")}
    return sorted(endpoint(pod) for pod in engines if pod.revision in revisions)


def _groups(owner: Owner, engines: Iterable[PodView]) -> list[RouteGroup]:
    """While a canary is tried: the stable replicas, and the canary's with their weight.

    It is lower while fewer of the canary's replicas are ready than its share needs.
    """
    canary = owner.status.get("canary")
    if not canary:
        return []
    pods = list(engines)
    revision, weight = canary["revision"], canary["weight"]
    tried = sorted(endpoint(pod) for pod in pods if pod.revision == revision)
    others = [one for one in _serving(owner, pods) if one not in tried]
    needed = max(1, part(owner.status.get("desiredReplicas", 0), weight))
    weight = -(-weight * min(len(tried), needed) // needed)
    return [
        RouteGroup(name=owner.status["model"]["revision"], weight=100 - weight, endpoints=others),
        RouteGroup(name=revision, weight=weight, endpoints=tried),
    ]
