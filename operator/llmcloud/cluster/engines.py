"""What makes the replicas of an LLMDeployment: Deployments of its revisions, or StatefulSets."""

from collections.abc import Iterable

from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.names import LABEL_COMPONENT, LABEL_OWNER_UID
from llmcloud.cluster.client import Client, object_path
from llmcloud.cluster.warnings import warnings_of
from llmcloud.plan.deployment_world import EngineView, engine_view, lacks_pods
from llmcloud.plan.manifests.engine import COMPONENT, WORKER
from llmcloud.plan.model import Manifest, Owner


async def engine_objects(
    client: Client, owner: Owner, spec: LLMDeploymentSpec
) -> tuple[list[Manifest], list[Manifest]]:
    """Those that have the replicas, and those of ranks that follow; the owner's, whatever others'
    labels say, and those that stay. StatefulSets are looked for where there may be any."""
    leading = await _list(client, owner, "Deployment", COMPONENT)
    if spec.nodes.max == 1 and not owner.status.get("nodes"):
        return leading, []
    leading += await _list(client, owner, "StatefulSet", COMPONENT)
    return leading, await _list(client, owner, "StatefulSet", WORKER)


async def engine_views(client: Client, raws: Iterable[Manifest]) -> tuple[EngineView, ...]:
    """As decisions see them; of StatefulSets that lack pods with the cluster's warnings."""
    views = []
    for raw in raws:
        meta = raw["metadata"]
        lacks = lacks_pods(raw)
        told = await warnings_of(client, meta["namespace"], meta["uid"]) if lacks else ()
        views.append(engine_view(raw, told))
    return tuple(views)


async def _list(client: Client, owner: Owner, kind: str, component: str) -> list[Manifest]:
    labels = f"{LABEL_OWNER_UID}={owner.uid},{LABEL_COMPONENT}={component}"
    items, _ = await client.list(object_path("apps/v1", kind, owner.namespace), labels=labels)
    # Items of a list carry neither kind nor apiVersion.
    return [{**item, "kind": kind} for item in items if _stays(item["metadata"], owner)]


def _stays(meta: Manifest, owner: Owner) -> bool:
    owners = [reference["uid"] for reference in meta.get("ownerReferences") or ()]
    return owner.uid in owners and "deletionTimestamp" not in meta
