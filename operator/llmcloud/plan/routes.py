"""The gateways' route table: which served name goes to which replicas.

On /v1 a served name belongs to the oldest LLMDeployment that asks for it, over all namespaces;
/ns/NAMESPACE/v1 serves every one.
"""

from collections.abc import Iterable, Mapping, Sequence
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
from llmcloud.plan.coldstart import total_seconds
from llmcloud.plan.deployment_world import served_name
from llmcloud.plan.manifests.egress import COMPONENT as EGRESS
from llmcloud.plan.model import Manifest, Owner, Plan, from_timestamp, parse
from llmcloud.plan.rollout import counting_window, part
from llmcloud.plan.route_room import (
    SPARE_ENDPOINTS,
    Claim,
    claimed_bytes,
    left_out,
    most_endpoints,
)

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


Served = tuple[Owner, LLMDeploymentSpec]


def valid(deployments: Iterable[Owner]) -> list[Served]:
    """Those that may have a route, with their specifications."""
    parsed = ((owner, parse(LLMDeploymentSpec, owner.spec)) for owner in deployments)
    return [(o, s) for o, s in parsed if isinstance(s, LLMDeploymentSpec) and not o.deleting]


def holders(deployments: Iterable[Served]) -> dict[str, Owner]:
    """The LLMDeployment that has each served name on /v1: the oldest, then by name."""
    ordered = sorted(deployments, key=lambda p: (p[0].created, p[0].namespace, p[0].name))
    found: dict[str, Owner] = {}
    for owner, spec in ordered:
        found.setdefault(served_name(owner, spec), owner)
    return found


def unrouted(deployments: Iterable[Served]) -> dict[str, str]:
    """The LLMDeployments, by uid, that the table has no room for, and why."""
    routed = [one for one in deployments if _has_route(*one)]
    return left_out(Claim(owner, _claimed(owner, spec)) for owner, spec in routed)


def _claimed(owner: Owner, spec: LLMDeploymentSpec) -> int:
    names = [adapter.name for adapter in spec.adapters]
    return claimed_bytes(spec, len(canonical_json(_bare(owner, spec, False, names).wire())))


def _has_route(owner: Owner, spec: LLMDeploymentSpec) -> bool:
    return spec.external is not None or bool(owner.status.get("model"))


def route_list(world: RoutesWorld) -> list[Route]:
    """Routes in the order of namespace and name; a deployment without a model, or without room in
    the table, has none."""
    routes = []
    deployments = valid(world.deployments)
    holding, without = holders(deployments), unrouted(deployments)
    for owner, spec in deployments:
        if not _has_route(owner, spec) or owner.uid in without:
            continue
        shared = holding[served_name(owner, spec)].uid == owner.uid
        bare = _bare(owner, spec, shared, _loaded(owner, spec))
        found = world.pods.get((owner.namespace, owner.uid), ())
        told = _places(owner, spec, [pod for pod in found if _answers(pod)])
        told["replica_expected"] = _expected(owner, found)
        routes.append(bare.model_copy(update=told))
    return sorted(routes, key=lambda route: (route.namespace, route.name))


def _bare(owner: Owner, spec: LLMDeploymentSpec, shared: bool, adapters: list[str]) -> Route:
    """The route without its pods."""
    return Route(
        namespace=owner.namespace,
        name=owner.name,
        model=served_name(owner, spec),
        labels=owner.raw["metadata"].get("labels") or {},
        shared=shared,
        anonymous=spec.access.anonymous,
        endpoints=[],
        in_flight_per_replica=EGRESS_IN_FLIGHT if spec.external else spec.scaling.target.in_flight,
        hold_max_requests=spec.hold.max_requests,
        hold_deadline_seconds=spec.hold.deadline_seconds,
        adapters=adapters,
        prompts=spec.prompts,
        fallback_when=spec.fallback.when if spec.fallback else [],
        created=int(from_timestamp(owner.created).timestamp()),
    )


def _places(owner: Owner, spec: LLMDeploymentSpec, pods: Sequence[PodView]) -> dict[str, object]:
    """The members of a route that tell of its pods, within what it claims."""
    egress = sorted(endpoint(pod) for pod in pods if pod.component == EGRESS)[:SPARE_ENDPOINTS]
    if spec.external is not None:
        return {"endpoints": egress}
    engines = [pod for pod in pods if pod.component != EGRESS]
    endpoints = _serving(owner, engines)[: most_endpoints(spec)]
    places: dict[str, object] = {"endpoints": endpoints}
    if spec.rollout is not None:
        tried = [pod for pod in engines if endpoint(pod) in endpoints]
        places |= {"groups": _groups(owner, tried), "window": counting_window(owner.status)}
    if spec.fallback is not None:
        places["fallback_endpoints"] = egress
    return places


def _loaded(owner: Owner, spec: LLMDeploymentSpec) -> list[str]:
    """Adapters that every replica serves; one that is no longer asked for is none at once."""
    status = owner.status.get("adapters") or []
    ready = {one["name"] for one in status if one.get("ready")}
    return [adapter.name for adapter in spec.adapters if adapter.name in ready]


def _expected(owner: Owner, pods: Iterable[PodView]) -> int | None:
    """When the oldest replica that starts will be ready if it takes as long as the last one did."""
    seconds = total_seconds((owner.status.get("scaling") or {}).get("coldStart") or {})
    begun = [p.created for p in pods if p.comes and p.component != EGRESS and p.created]
    return round(min(begun).timestamp() + seconds) if begun and seconds is not None else None


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
