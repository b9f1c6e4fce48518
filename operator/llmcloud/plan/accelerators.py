"""The catalogue of accelerators: names to labels, resources and taints of the platforms.

It is a chart value. Which of an accelerator's pools is meant follows from the labels that the
cluster's nodes have: first a pool of which there is a node, else one of a platform that is there,
whose autoscaler may still bring the node.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

NodeLabels = tuple[Mapping[str, str], ...]
"""The labels of the cluster's nodes, one mapping for each kind of node."""


class _Values(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class Platform(_Values):
    """How a platform marks its nodes. Nodes of spot capacity have `spot_label` = `spot_value`."""

    node_label: str = Field(description="Every node of the platform has this label.")
    spot_label: str = ""
    spot_value: str = ""
    tolerations: list[dict[str, Any]] = Field(default=[], description="For its accelerators.")
    spot_tolerations: list[dict[str, Any]] = Field(default=[], description="For spot capacity.")


class Pool(_Values):
    """Nodes with the accelerator: every label has one of its values. No platform: any cluster."""

    platform: str = ""
    labels: dict[str, list[str]]

    def holds(self, node: Mapping[str, str]) -> bool:
        """Whether a node with these labels is of the pool."""
        return all(node.get(label) in values for label, values in self.labels.items())


class Accelerator(_Values):
    """A kind of accelerator. `peak_teraflops`: by precision (bfloat16, float32), dense;
    `peak_source`: who says so."""

    resource: str = "nvidia.com/gpu"
    peak_teraflops: dict[str, float] = {}
    peak_source: str = ""
    pools: list[Pool]


class Catalogue(_Values):
    """All platforms and accelerators that the installation knows.

    `platform` names the cluster's; empty: it is told by the nodes.
    """

    platform: str = ""
    platforms: dict[str, Platform] = {}
    accelerators: dict[str, Accelerator] = {}

    def labels(self) -> frozenset[str]:
        """The labels of nodes that decide anything here."""
        pools = [pool for each in self.accelerators.values() for pool in each.pools]
        marks = (platform.node_label for platform in self.platforms.values())
        return frozenset(marks).union(*(pool.labels for pool in pools))

    def is_there(self, platform: str, nodes: NodeLabels | None) -> bool:
        """Whether the cluster is, or has nodes of, `platform`."""
        if self.platform:
            return platform == self.platform
        mark = self.platforms[platform].node_label if platform in self.platforms else None
        return any(mark in node for node in nodes or ())

    def platform_of(self, nodes: NodeLabels | None) -> Platform | None:
        """The cluster's platform; the first of several."""
        found = (p for name, p in self.platforms.items() if self.is_there(name, nodes))
        return next(found, None)

    def pool_of(self, accelerator: Accelerator, nodes: NodeLabels | None) -> Pool | None:
        """Where pods look for the accelerator."""
        pools = accelerator.pools
        if self.platform:
            return next((pool for pool in pools if pool.platform == self.platform), None)
        there = (pool for pool in pools if any(pool.holds(node) for node in nodes or ()))
        may_come = (pool for pool in pools if self.is_there(pool.platform, nodes))
        return next(there, None) or next(may_come, None)
