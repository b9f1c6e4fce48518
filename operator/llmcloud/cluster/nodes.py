"""The labels of the cluster's nodes that placement asks for: listed when needed, kept briefly."""

import time
from typing import Final

from llmcloud.cluster.client import Client, object_path
from llmcloud.plan.accelerators import NodeLabels

KEPT_SECONDS: Final = 20.0
METADATA_ONLY: Final = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)


class Nodes:
    """`wanted`: the labels that matter; nodes that have them alike count once."""

    def __init__(self, client: Client, wanted: frozenset[str]) -> None:
        self._client = client
        self._wanted = wanted
        self._listed = float("-inf")
        self._labels: NodeLabels = ()

    async def labels(self) -> NodeLabels:
        """One mapping for each kind of node."""
        if time.monotonic() - self._listed >= KEPT_SECONDS:
            items, _ = await self._client.list(
                object_path("v1", "Node", None), accept=METADATA_ONLY
            )
            kinds = {
                tuple(sorted((k, v) for k, v in labels.items() if k in self._wanted))
                for labels in (item["metadata"].get("labels") or {} for item in items)
            }
            self._labels = tuple(dict(kind) for kind in sorted(kinds))
            self._listed = time.monotonic()
        return self._labels
