"""Which routes fit into the gateways' table, which is one object of bounded size.

A route claims room for what its specification allows, not for what runs: what fits does not depend
on pods, and no route grows beyond its claim. Rooms are given to namespaces max-min fairly
(Bertsekas and Gallager, Data Networks, 1992, section 6.5.2), so that none takes another's; within
a namespace the oldest LLMDeployment comes first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.plan.model import Owner

TABLE_BYTES: Final = 1_000_000
"""A ConfigMap holds 1 MiB."""
SPARE_ENDPOINTS: Final = 2
"""More than the replicas asked for: a rollout's surge, and what goes."""
ENDPOINT_BYTES: Final = 48
"""The longest address with its port, quoted and parted."""
GROUP_BYTES: Final = 256
"""The names and weights of a canary's groups, and its window."""
LOOSE_BYTES: Final = 48
"""What parts routes from each other, whether the name is shared, and when a replica is expected."""


@dataclass(frozen=True)
class Claim:
    """The room that a deployment's route may take, in bytes of canonical JSON."""

    owner: Owner
    bytes: int


def most_endpoints(spec: LLMDeploymentSpec) -> int:
    """The endpoints of one list of a route."""
    scaling = spec.scaling
    asked = spec.replicas if scaling.mode == "External" else scaling.max_replicas
    return max(asked, scaling.min_replicas) + SPARE_ENDPOINTS


def claimed_bytes(spec: LLMDeploymentSpec, bare_bytes: int) -> int:
    """The claim of a route that has `bare_bytes` without endpoints: those of a canary stand in its
    groups too, and a fallback has its own."""
    endpoints = most_endpoints(spec) * (2 if spec.rollout else 1)
    endpoints += SPARE_ENDPOINTS if spec.fallback else 0
    groups = GROUP_BYTES if spec.rollout else 0
    return bare_bytes + LOOSE_BYTES + groups + ENDPOINT_BYTES * endpoints


def left_out(claims: Iterable[Claim], room_bytes: int = TABLE_BYTES) -> dict[str, str]:
    """Why the routes of some deployments, by uid, have no place in the table."""
    by_namespace: dict[str, list[Claim]] = {}
    for claim in claims:
        by_namespace.setdefault(claim.owner.namespace, []).append(claim)
    sums = {name: sum(one.bytes for one in each) for name, each in by_namespace.items()}
    shares = fair_shares(sums, room_bytes)
    found: dict[str, str] = {}
    for namespace, each in by_namespace.items():
        left = shares[namespace]
        for claim in sorted(each, key=lambda one: (one.owner.created, one.owner.name)):
            if claim.bytes <= left:
                left -= claim.bytes
            else:
                found[claim.owner.uid] = _why(claim, shares[namespace], left)
    return found


def fair_shares(wanted: Mapping[str, int], room: int) -> dict[str, int]:
    """Max-min fair: who wants less than an equal share gets it all, the others what remains."""
    shares: dict[str, int] = {}
    for place, (name, want) in enumerate(sorted(wanted.items(), key=lambda one: (one[1], one[0]))):
        shares[name] = min(want, room // (len(wanted) - place))
        room -= shares[name]
    return shares


def _why(claim: Claim, share: int, left: int) -> str:
    return (
        f"Gateways do not know it: its route may need {claim.bytes} bytes, and of the {share} that "
        f"this namespace has in their table its older LLMDeployments leave {left}. Shorten prompts "
        "and labels, lower scaling.maxReplicas, or delete LLMDeployments of this namespace"
    )
