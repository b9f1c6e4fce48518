"""The Deployments of an LLMDeployment's revisions."""

from llmcloud.api.names import LABEL_COMPONENT, LABEL_OWNER_UID
from llmcloud.cluster.client import Client, object_path
from llmcloud.plan.manifests.engine import COMPONENT
from llmcloud.plan.model import Manifest, Owner


async def engine_deployments(client: Client, owner: Owner) -> list[Manifest]:
    """Those that are the owner's, whatever others' labels say, and that stay."""
    labels = f"{LABEL_OWNER_UID}={owner.uid},{LABEL_COMPONENT}={COMPONENT}"
    path = object_path("apps/v1", "Deployment", owner.namespace)
    items, _ = await client.list(path, labels=labels)
    return [item for item in items if _stays(item["metadata"], owner)]


def _stays(meta: Manifest, owner: Owner) -> bool:
    owners = [reference["uid"] for reference in meta.get("ownerReferences") or ()]
    return owner.uid in owners and "deletionTimestamp" not in meta
