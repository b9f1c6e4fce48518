"""What every decision takes and gives: a World goes in, a Plan comes out.

A World is frozen and complete: the object, its children, what it refers to, what its pods
report, and the time. A Plan says what should exist, what should not, the whole new status, and
when to look again. Planning is total: every World has a Plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from llmcloud.api.base import ApiModel
from llmcloud.api.names import API_VERSION, Kind
from llmcloud.plan.accelerators import Catalogue

Manifest = dict[str, Any]
ModelT = TypeVar("ModelT", bound=ApiModel)


@dataclass(frozen=True)
class ObjectRef:
    """An object to delete; `uid` is the precondition, so that a namesake is never hit."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Notice:
    """Something worth an event."""

    warning: bool
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What should be true. `status` None: there is nothing to write a status to.

    `notices`: what is told of an object that has no status any more.
    """

    applies: tuple[Manifest, ...] = ()
    deletes: tuple[ObjectRef, ...] = ()
    status: Manifest | None = None
    finalizer: bool = False
    requeue_seconds: float | None = None
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class PodDefaults:
    """What the installation gives to every pod (chart values)."""

    operator_image: str
    data_image: str
    runtime_image: str
    version: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    tolerations: tuple[Manifest, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    gateway_url: str = ""
    store_check_seconds: int = 3600
    catalogue: Catalogue = field(default_factory=Catalogue)
    gateway_image: str = ""
    vllm_image: str = ""
    namespace: str = ""
    """The installation's own: where gateways run."""
    allowed_networks: tuple[str, ...] = ()
    refused_networks: tuple[str, ...] = ()
    """CIDRs that egress pods may reach besides the public internet."""
    authorities: str = ""
    """Certificates (PEM) that every pod trusts besides those of its image."""


@dataclass(frozen=True)
class Owner:
    """The custom resource whose children are planned."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    deleting: bool
    finalizers: tuple[str, ...]
    annotations: Mapping[str, str]
    spec: Manifest
    status: Manifest
    raw: Manifest = field(repr=False, compare=False)

    @property
    def reference(self) -> Manifest:
        """The owner reference for children."""
        return {
            "apiVersion": API_VERSION,
            "kind": str(self.kind),
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def condition(self, type_: str) -> Manifest:
        """The condition as the status has it; empty if absent."""
        conditions = self.status.get("conditions") or []
        return next((c for c in conditions if c.get("type") == type_), {})

    def is_true(self, type_: str) -> bool:
        """Whether the condition holds for the current generation."""
        condition = self.condition(type_)
        return (
            condition.get("status") == "True"
            and condition.get("observedGeneration") == self.generation
        )


def owner_from(raw: Manifest) -> Owner:
    """Read a custom resource as the API server gives it."""
    meta = raw["metadata"]
    return Owner(
        kind=Kind(raw["kind"]),
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 1),
        created=meta.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in meta,
        finalizers=tuple(meta.get("finalizers", ())),
        annotations=meta.get("annotations") or {},
        spec=raw.get("spec") or {},
        status=raw.get("status") or {},
        raw=raw,
    )


def parse(model: type[ModelT], value: Manifest) -> ModelT | str:
    """The parsed value, or a sentence that says which field is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        return f"spec.{path}: {first['msg']}; correct the object and apply it again"


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_timestamp(text: str) -> datetime:
    """The moment of an RFC 3339 text."""
    return datetime.fromisoformat(text)
