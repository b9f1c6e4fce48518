"""The adapters of a deployment: where they lie, what its pods are told, which are served.

Pods are told by an annotation, which the kubelet shows to the sidecar: it is no part of the
template, so a change restarts nothing. An adapter is routed to when every replica that answers has
loaded it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llmcloud.api.adapter import AdapterReport, WantedAdapter, WantedAdapters
from llmcloud.api.base import canonical_json
from llmcloud.api.deployment import Adapter, LLMDeploymentSpec
from llmcloud.api.names import ANNOTATION_ADAPTERS, Condition
from llmcloud.plan.children import ANNOTATION_DELETION_COST, PodView
from llmcloud.plan.model import Manifest, Owner
from llmcloud.plan.served_model import trained_model
from llmcloud.plan.stores import Missing, StoreAccess, usable_store

LOOK_AGAIN_SECONDS = 3.0
"""While an adapter is on its way."""


@dataclass(frozen=True)
class AdapterView:
    """What an adapter of the specification refers to, as it is."""

    name: str
    training_job: Owner | None
    store: Owner | None


@dataclass(frozen=True)
class Resolved:
    """One adapter that can be fetched."""

    wanted: WantedAdapter
    store: StoreAccess
    pin: Manifest


@dataclass(frozen=True)
class Adapters:
    """What comes of `spec.adapters`; `missing` says why others cannot be fetched."""

    found: tuple[Resolved, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def stores(self) -> tuple[StoreAccess, ...]:
        return tuple(one.store for one in self.found)

    @property
    def annotation(self) -> str:
        """What the pods are told."""
        wanted = WantedAdapters(adapters=[one.wanted for one in self.found])
        return canonical_json(wanted.wire()).decode()


def adapter_pin(owner: Owner, adapter: Adapter, job: Owner | None) -> Manifest | None:
    """Where an adapter lies: as its job says, else as pinned, which outlives the job's object."""
    which = adapter.model.training_job
    if which is None:
        store = adapter.model.store
        return {"store": store.name, "path": store.path} if store else None
    model = trained_model(job) if job else None
    if model is not None:
        return model
    before: list[Manifest] = owner.status.get("adapters") or []
    pinned = next((a.get("model") or {} for a in before if a.get("name") == adapter.name), {})
    named = pinned.get("trainingJob")
    return pinned if named and which.name in (None, named) else None


def resolve_adapters(
    owner: Owner, spec: LLMDeploymentSpec, views: Iterable[AdapterView], *, serving: bool
) -> Adapters:
    """All adapters of `spec`. One that is missing keeps none of the others."""
    seen = {view.name: view for view in views}
    found, missing = [], {}
    for adapter in spec.adapters:
        view = seen.get(adapter.name) or AdapterView(adapter.name, None, None)
        one = _resolve(owner, adapter, view, serving=serving)
        if isinstance(one, str):
            missing[adapter.name] = one
        else:
            found.append(one)
    return Adapters(tuple(found), missing)


def _resolve(owner: Owner, adapter: Adapter, view: AdapterView, *, serving: bool) -> Resolved | str:
    pin = adapter_pin(owner, adapter, view.training_job)
    if pin is None:
        return _no_adapter(adapter, view.training_job)
    if adapter.model.training_job is not None and pin.get("kind", "adapter") != "adapter":
        return (
            f"LLMTrainingJob {pin['trainingJob']} made a model of its own, not an adapter: serve "
            "it by an LLMDeployment of its own, or train without lora.merge"
        )
    access = usable_store(pin["store"], view.store, must_be_ready=not serving)
    if isinstance(access, Missing):
        return access.message
    wanted = WantedAdapter(
        name=adapter.name, store=access.location, path=pin["path"], digest=pin.get("digest")
    )
    members = ("digest", "trainingJob", "store", "path")
    kept = {name: pin[name] for name in members if pin.get(name)}
    return Resolved(wanted, access, {**kept, "url": access.location.url(pin["path"])})


def _no_adapter(adapter: Adapter, job: Owner | None) -> str:
    which = adapter.model.training_job
    if which is None:
        return "set exactly one of store, trainingJob"
    if which.name is None:
        return "No LLMTrainingJob that the selector selects has passed yet: wait for one"
    if job is None:
        return f"LLMTrainingJob {which.name} does not exist in this namespace: create it"
    said = job.condition(Condition.READY).get("message") or "it has not started"
    return f"LLMTrainingJob {which.name} has no adapter yet: {said}"


def tell_pods(
    owner: Owner, pods: Iterable[PodView], costs: Iterable[Manifest], adapters: Adapters
) -> tuple[Manifest, ...]:
    """`costs`, which are applied to pods anyway, and what pods do not know of adapters yet.

    One apply holds both, or the rest would be taken back.
    """
    applied = {cost["metadata"]["name"]: cost["metadata"]["annotations"] for cost in costs}
    told = adapters.annotation
    manifests = []
    for pod in sorted(pods, key=lambda pod: pod.name):
        cost = applied.get(pod.name)
        if pod.deleting or (cost is None and pod.adapters == told):
            continue
        before = {ANNOTATION_DELETION_COST: pod.deletion_cost} if pod.deletion_cost else {}
        annotations = {**(cost or before), ANNOTATION_ADAPTERS: told}
        manifests.append(pod.annotated(owner.namespace, annotations))
    return tuple(manifests)


def adapter_status(
    spec: LLMDeploymentSpec,
    adapters: Adapters,
    pods: Iterable[PodView],
    reports: Mapping[str, AdapterReport],
) -> list[Manifest]:
    """`status.adapters`; `reports` are by name of pod."""
    serving = [reports.get(pod.name) for pod in pods if pod.serves]
    found = {one.wanted.name: one for one in adapters.found}
    status = []
    for adapter in spec.adapters:
        one = found.get(adapter.name)
        if one is None:
            message = adapters.missing.get(adapter.name, "")
            status.append({"name": adapter.name, "ready": False, "message": message})
            continue
        key = one.wanted.key
        loaded = [r is not None and r.loaded.get(adapter.name) == key for r in serving]
        member: Manifest = {"name": adapter.name, "ready": bool(loaded) and all(loaded)}
        if not member["ready"]:
            member["message"] = _why_not(adapter.name, serving, loaded.count(True))
        status.append({**member, "model": one.pin})
    return status


def _why_not(name: str, serving: list[AdapterReport | None], loaded: int) -> str:
    failed = (report.failed.get(name) for report in serving if report is not None)
    said = next(filter(None, failed), None)
    return said or f"{loaded} of {len(serving)} replicas have loaded it"


def unsettled(status: Iterable[Manifest], pods: Iterable[PodView]) -> bool:
    """Whether an adapter is on its way to replicas that answer."""
    serving = any(pod.serves for pod in pods)
    return serving and any(not one["ready"] and "model" in one for one in status)
