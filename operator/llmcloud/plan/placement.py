"""Where pods may run: from an accelerator's name and places to affinity, tolerations, devices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from llmcloud.api.common import AcceleratedResources, Place
from llmcloud.api.names import Reason
from llmcloud.plan.accelerators import Catalogue, NodeLabels, Platform, Pool
from llmcloud.plan.children import JobView
from llmcloud.plan.model import Manifest
from llmcloud.plan.stores import Missing

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
WAIT_SECONDS = 600
"""How long a place is waited for that does not say."""
FIRST_WEIGHT: Final = 64
"""Of the first of eight places at most. Each outweighs all that come after it together, so that a
node of two later places is not preferred to one of an earlier place."""

Expressions = tuple[Manifest, ...]
"""What the labels of a node must be; none: any node will do."""


@dataclass(frozen=True)
class Scheduling:
    """What a pod gets: nodes by their labels, tolerations, and extended resources."""

    places: tuple[Expressions, ...] = ((),)
    """It runs in one of them, by preference in an earlier one. Only the last may be everywhere."""
    tolerations: tuple[Manifest, ...] = ()
    devices: Manifest = field(default_factory=dict)
    peak_teraflops: Mapping[str, float] = field(default_factory=dict)
    """Of each device, by precision."""
    avoided: tuple[str, ...] = ()
    """Names of nodes on which it does not run."""

    @property
    def affinity(self) -> Manifest | None:
        """The pod's `affinity`; None if it may run anywhere."""
        terms = [{"matchExpressions": list(expressions)} for expressions in self.places]
        affinity: Manifest = {}
        if self.places[-1] or self.avoided:
            affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
                "nodeSelectorTerms": [self._elsewhere(expressions) for expressions in self.places]
            }
        if len(terms) > 1:
            affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": FIRST_WEIGHT >> index, "preference": term}
                for index, term in enumerate(terms[:-1])
            ]
        return {"nodeAffinity": affinity} if affinity else None

    def _elsewhere(self, expressions: Expressions) -> Manifest:
        """A place without the nodes that are avoided; a field's requirement has one value."""
        term: Manifest = {"matchExpressions": list(expressions)} if expressions else {}
        fields = [
            {"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in self.avoided
        ]
        return {**term, "matchFields": fields} if fields else term


def schedule(
    resources: AcceleratedResources,
    placement: Sequence[Place],
    catalogue: Catalogue,
    nodes: NodeLabels | None,
) -> Scheduling | Missing:
    """Where pods with these resources run, each in any of these places; without any: everywhere.

    `nodes` None: they cannot be listed.
    """
    labels: list[Manifest] = []
    devices: Manifest = {}
    peak: Mapping[str, float] = {}
    platform = catalogue.platform_of(nodes)
    tolerations: list[Manifest] = []
    if resources.accelerator is not None:
        pool = _pool(resources.accelerator, catalogue, nodes)
        if isinstance(pool, Missing):
            return pool
        platform = catalogue.platforms.get(pool.platform)
        labels = [_is_in(label, values) for label, values in pool.labels.items()]
        tolerations += platform.tolerations if platform else []
        accelerator = catalogue.accelerators[resources.accelerator]
        devices = {accelerator.resource: str(resources.count or 1)}
        peak = accelerator.peak_teraflops
    if any(place.capacity == "Spot" for place in placement):
        if platform is None or not platform.spot_label:
            return Missing(
                Reason.CAPACITY_UNKNOWN,
                "How this cluster marks spot nodes is not known: name their labels in "
                "spec.placement's nodeSelector instead of capacity, or set the chart's value "
                "platform.",
                stalled=True,
            )
        tolerations += platform.spot_tolerations
    places = [
        (*_expressions(place), *labels, *_capacity(place, platform))
        for place in placement or [Place()]
    ]
    return Scheduling(_reachable(places), tuple(tolerations), devices, peak)


def _reachable(places: list[Expressions]) -> tuple[Expressions, ...]:
    """Without those that come after one that is everywhere."""
    return tuple(places[: places.index(()) + 1] if () in places else places)


def _pool(name: str, catalogue: Catalogue, nodes: NodeLabels | None) -> Pool | Missing:
    accelerator = catalogue.accelerators.get(name)
    if accelerator is None:
        known = ", ".join(sorted(catalogue.accelerators)) or "none"
        return Missing(
            Reason.ACCELERATOR_UNKNOWN,
            f"spec.resources.accelerator {name} is not in the catalogue, which has {known}: "
            "choose one of these, or add it to the chart's value accelerators.",
            stalled=True,
        )
    pool = catalogue.pool_of(accelerator, nodes)
    if pool is not None:
        return pool
    if nodes is None and not catalogue.platform:
        return Missing(
            Reason.ACCELERATOR_NOT_FOUND,
            f"Where {name} is to be found is not known, because this installation may not list "
            "nodes: set the chart's value platform.",
        )
    wanted = " or ".join(
        f"{label} in ({', '.join(values)})"
        for each in accelerator.pools
        for label, values in each.labels.items()
    )
    return Missing(
        Reason.ACCELERATOR_NOT_FOUND,
        f"No node of this cluster has a {name}, and no platform that could bring one is "
        f"recognised. Looked for {wanted}. Add such a node, or choose another "
        "spec.resources.accelerator.",
    )


def _is_in(label: str, values: list[str]) -> Manifest:
    return {"key": label, "operator": "In", "values": list(values)}


def _expressions(place: Place) -> list[Manifest]:
    named = ((REGION, place.region), (ZONE, place.zone), *sorted(place.node_selector.items()))
    return [_is_in(label, [value]) for label, value in named if value is not None]


def _capacity(place: Place, platform: Platform | None) -> list[Manifest]:
    """Without a platform all nodes count as on demand."""
    if place.capacity is None or platform is None or not platform.spot_label:
        return []
    operator = "In" if place.capacity == "Spot" else "NotIn"
    return [{"key": platform.spot_label, "operator": operator, "values": [platform.spot_value]}]


@dataclass(frozen=True)
class Move:
    """The place to go to, at once or after `wait_seconds`."""

    place: int
    wait_seconds: float


def next_move(placement: list[Place], job: JobView | None, now: datetime) -> Move | None:
    """Where the attempt goes if its job's pods get no nodes; None if it stays where it is.

    After the last place, if it has a `waitSeconds`, comes the first again.
    """
    if job is None or not any(pod.unschedulable for pod in job.pods):
        return None
    current = job.place
    if len(placement) < 2 or current >= len(placement):
        return None
    wait_seconds = placement[current].wait_seconds
    if wait_seconds is None:
        if current == len(placement) - 1:
            return None
        wait_seconds = WAIT_SECONDS
    waited_seconds = (now - job.created).total_seconds()
    return Move((current + 1) % len(placement), max(0.0, wait_seconds - waited_seconds))
