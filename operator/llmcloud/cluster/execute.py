"""Carry a plan out: finalizer, applies, deletes, status if it differs, then events.

Any prefix of these steps may be all that happens: the next plan begins where they ended.
"""

import logging
from collections.abc import Callable, Mapping

from llmcloud.api.base import digest
from llmcloud.api.names import (
    ANNOTATION_INTENT,
    ANNOTATION_REPLICAS,
    API_VERSION,
    FINALIZER,
    MANAGER_CHILDREN,
    MANAGER_FINALIZER,
    MANAGER_STATUS,
)
from llmcloud.cluster.client import ChildRefused, Client, Gone, NotAllowed, Refused
from llmcloud.cluster.recorder import Recorder
from llmcloud.plan.conditions import notices
from llmcloud.plan.model import Manifest, Owner, Plan

logger = logging.getLogger(__name__)

Intents = Mapping[tuple[str, str], str]
"""Intent hashes that children carry, by (kind, name)."""

Applied = Callable[[str], None]
"""Gets the resource version of every apply of a child: its event tells nothing new."""


def _unheard(_: str) -> None: ...


def with_intent(manifest: Manifest) -> Manifest:
    """The manifest with the hash of itself as an annotation."""
    meta = manifest["metadata"]
    annotations = {**meta.get("annotations", {}), ANNOTATION_INTENT: digest(manifest)}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def intent_of(kind: str, raw: Manifest | None) -> dict[tuple[str, str], str]:
    """The intent hash that a child carries, if it is there."""
    if not raw:
        return {}
    meta = raw["metadata"]
    return {(kind, meta["name"]): (meta.get("annotations") or {}).get(ANNOTATION_INTENT, "")}


def engine_intent(raw: Manifest) -> dict[tuple[str, str], str]:
    """That of a Deployment or StatefulSet; none if anyone has changed its number of replicas."""
    asked = (raw["metadata"].get("annotations") or {}).get(ANNOTATION_REPLICAS)
    return intent_of(raw["kind"], raw if asked == str(raw["spec"].get("replicas")) else None)


async def apply_children(
    client: Client, plan: Plan, intents: Intents, applied: Applied = _unheard
) -> None:
    """Apply what is not there yet as intended, then delete what should not be."""
    for manifest in plan.applies:
        intended = with_intent(manifest)
        key = (manifest["kind"], manifest["metadata"]["name"])
        wanted = intended["metadata"]["annotations"][ANNOTATION_INTENT]
        if intents.get(key) != wanted:
            child = await _apply_child(client, intended)
            applied(str(child["metadata"]["resourceVersion"]))
    for ref in plan.deletes:
        await client.delete(ref)


async def _apply_child(client: Client, manifest: Manifest) -> Manifest:
    try:
        return await client.apply(manifest, MANAGER_CHILDREN)
    except NotAllowed:
        raise
    except Refused as error:
        raise ChildRefused(error.status, error.message) from None


async def execute(
    client: Client,
    recorder: Recorder,
    owner: Owner,
    plan: Plan,
    intents: Intents,
    applied: Applied = _unheard,
) -> str:
    """Carry out `plan` for `owner`.

    Returns the resource version of the status write, whose event tells nothing new; empty if
    nothing was written, or if the object had been changed meanwhile.
    """
    if plan.finalizer and FINALIZER not in owner.finalizers:
        await _set_finalizer(client, owner, present=True)
    await apply_children(client, plan, intents, applied)
    for notice in plan.notices:
        logger.warning("%s %s/%s: %s", owner.kind, owner.namespace, owner.name, notice.message)
        await recorder.post(owner, notice)
    if not plan.finalizer and FINALIZER in owner.finalizers:
        await _set_finalizer(client, owner, present=False)
        if owner.deleting:
            return ""
    if plan.status is None or plan.status == owner.status:
        return ""
    body = {**_identity(owner), "status": plan.status}
    try:
        written = await client.apply(body, MANAGER_STATUS, "status")
    except Gone:
        return ""
    for notice in notices(owner.status, plan.status):
        await recorder.post(owner, notice)
    meta = written["metadata"]
    unchanged = (
        meta.get("generation") == owner.generation
        and "deletionTimestamp" not in meta
        and (meta.get("annotations") or {}) == dict(owner.annotations)
    )
    return str(meta["resourceVersion"]) if unchanged else ""


def _identity(owner: Owner) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": str(owner.kind),
        "metadata": {"name": owner.name, "namespace": owner.namespace, "uid": owner.uid},
    }


async def _set_finalizer(client: Client, owner: Owner, *, present: bool) -> None:
    body = _identity(owner)
    if present:
        body["metadata"]["finalizers"] = [FINALIZER]
    await client.apply(body, MANAGER_FINALIZER)
