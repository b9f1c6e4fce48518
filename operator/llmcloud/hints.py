"""The only kopf handlers: every event becomes a key in the queue, and nothing else.

A hint carries no data and cannot fail; what is lost is healed by the slow resync.
"""

from collections.abc import Mapping
from typing import Any, Final

import kopf

from llmcloud.api.names import (
    GROUP,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_OWNER_KIND,
    LABEL_OWNER_NAME,
    MANAGED_BY,
    VERSION,
    Kind,
)
from llmcloud.control.kinds import ROUTES
from llmcloud.control.pulse import Pulse
from llmcloud.control.queue import Key, WorkQueue
from llmcloud.control.references import References

CHILDREN: Final = (
    ("batch", "v1", "jobs", "Job"),
    ("", "v1", "pods", "Pod"),
    ("apps", "v1", "deployments", "Deployment"),
    ("apps", "v1", "statefulsets", "StatefulSet"),
)
OURS: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
"""The label that all children have."""
_ROUTED: Final = frozenset({"engine", "egress"})
CHILD_SECONDS: Final = 0.5
"""A new child makes several events at once: they are one look."""
CHILD_PATIENCE_SECONDS: Final = 10.0
"""In a rush, objects that have no child yet come first."""
_APPLIED_VERSIONS: Final = 4096


class Hints:
    """Wakes keys for events; skips events of this process' own writes."""

    def __init__(
        self,
        queue: WorkQueue,
        references: References[Key],
        pulse: Pulse,
        watched_namespace: str | None = None,
    ) -> None:
        self._queue = queue
        self._references = references
        self._pulse = pulse
        self._watched_namespace = watched_namespace
        self._own_versions: dict[Key, str] = {}
        self._applied: dict[str, None] = {}
        """Resource versions of children, which no two writes share, the oldest first."""
        self.routes = Key(ROUTES, "", "")

    def _is_watched(self, namespace: str) -> bool:
        """Objects of the operator's own namespace are not ours: kopf is there for the Lease."""
        return self._watched_namespace in (None, namespace)

    def wrote(self, key: Key, resource_version: str) -> None:
        """Remember an own write, whose event needs no second look at the object itself.

        The event may come before the answer to the write.
        """
        self._own_versions[key] = resource_version
        self._queue.take_back(key, resource_version)
        self._wake_others(key)

    def applied(self, key: Key, resource_version: str) -> None:
        """Remember that a child of `key` was applied, whose event needs no look."""
        self._queue.take_back(key, resource_version)
        self._applied[resource_version] = None
        if len(self._applied) > _APPLIED_VERSIONS:
            del self._applied[next(iter(self._applied))]

    def _wake_others(self, key: Key) -> None:
        anyone = Key(key.kind, key.namespace, "")
        for referrer in (*self._references.referrers(key), *self._references.referrers(anyone)):
            self._queue.wake(referrer)
        if key.kind == Kind.DEPLOYMENT:
            self._queue.wake(self.routes)

    async def on_object(self, body: Mapping[str, Any], **_: object) -> None:
        """An event of a custom resource."""
        meta = body["metadata"]
        if not self._is_watched(meta["namespace"]):
            return
        self._pulse.hear(body["kind"], meta["resourceVersion"])
        key = Key(body["kind"], meta["namespace"], meta["name"])
        if self._own_versions.get(key) == meta["resourceVersion"]:
            return
        self._own_versions.pop(key, None)
        self._queue.wake(key, cause=meta["resourceVersion"])
        self._wake_others(key)

    async def on_child(self, body: Mapping[str, Any], **_: object) -> None:
        """An event of a labelled child."""
        meta = body["metadata"]
        if not self._is_watched(meta["namespace"]):
            return
        self._pulse.hear(body["kind"], meta["resourceVersion"])
        if meta["resourceVersion"] in self._applied:
            return
        labels = meta.get("labels") or {}
        if LABEL_OWNER_KIND in labels and LABEL_OWNER_NAME in labels:
            self._queue.wake(
                Key(labels[LABEL_OWNER_KIND], meta["namespace"], labels[LABEL_OWNER_NAME]),
                CHILD_SECONDS,
                cause=meta["resourceVersion"],
                patience_seconds=CHILD_PATIENCE_SECONDS,
            )
        if labels.get(LABEL_COMPONENT) in _ROUTED:
            self._queue.wake(self.routes)

    async def on_lease(self, **_: object) -> None:
        """The leader's heartbeat, seen through a watch: proof that watches deliver."""
        self._pulse.beat_lease()


class _NothingKept(kopf.DiffBaseStorage):
    """Handlers of events compare nothing: kopf need not copy every object to compare it."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """There is nothing to store."""


async def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """As the pod's service account, else by KUBECONFIG."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def build_registry(hints: Hints) -> kopf.OperatorRegistry:
    """All handlers, on a registry of our own."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, id="login")(_login)
    for kind in Kind:
        kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=str(kind))(hints.on_object)
    for group, version, plural, _ in CHILDREN:
        kopf.on.event(group, version, plural, registry=registry, id=plural)(hints.on_child)
    kopf.on.event("coordination.k8s.io", "v1", "leases", registry=registry, id="lease")(
        hints.on_lease
    )
    return registry


def build_settings() -> kopf.OperatorSettings:
    """kopf only watches: no peering, no scanning, no annotations, no events of its own."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 300
    for _, _, plural, _ in CHILDREN:
        settings.watching.label_selectors[plural] = OURS
    settings.watching.label_selectors["leases"] = OURS
    settings.networking.request_timeout = 30
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NothingKept()
    return settings
