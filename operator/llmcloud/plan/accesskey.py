"""LLMAccessKey: whether it is in force, and what of its budgets gateways may spend.

Gateways read the objects themselves (decision 040), so a lease is given by writing it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from llmcloud.api.accesskey import AllowedDeployments, KeyUsage, LLMAccessKeySpec
from llmcloud.api.leases import KeyLease, KeySample
from llmcloud.api.names import Reason
from llmcloud.plan.conditions import Judgement, build_conditions
from llmcloud.plan.leases import change_after_seconds, demands_of, plan_leases
from llmcloud.plan.model import Manifest, Owner, Plan, PodDefaults, from_timestamp, parse, timestamp

USAGE_SECONDS: Final = 30
"""How often usage alone is worth a write."""
_KEPT = ("usage", "leases")


@dataclass(frozen=True)
class KeyWorld:
    """An LLMAccessKey and what is spent with it."""

    owner: Owner
    now: datetime
    samples: Mapping[str, KeySample] = field(default_factory=dict)
    """By gateway, as last heard."""
    usage: KeyUsage | None = None
    """In all; None if nothing was heard of it."""


def plan_access_key(world: KeyWorld, _: PodDefaults) -> Plan:
    """A status, and a look at the moment of expiry and as windows of budgets end."""
    owner = world.owner
    if owner.deleting:
        return Plan()
    spec = parse(LLMAccessKeySpec, owner.spec)
    if isinstance(spec, str):
        judgement = Judgement(False, Reason.SPEC_INVALID, spec, stalled=True)
        kept = {name: owner.status[name] for name in _KEPT if name in owner.status}
        return Plan(status=_status(world, judgement, kept))
    left = None
    if spec.expires_at is not None:
        left = (spec.expires_at - world.now).total_seconds()
    judgement = _judge(spec, expired=left is not None and left <= 0)
    leases = leases_of(owner, spec, world.samples, world.now)
    usage, usage_due = _usage(owner, world, leases)
    members = {
        **({"usage": usage} if usage else {}),
        **({"leases": [lease.wire() for lease in leases]} if leases else {}),
    }
    due = (left if judgement.ready else None, usage_due, *_lease_due(leases, world.now))
    again = min((seconds for seconds in due if seconds is not None), default=None)
    return Plan(status=_status(world, judgement, members), requeue_seconds=again)


def leases_of(
    owner: Owner, spec: LLMAccessKeySpec, samples: Mapping[str, KeySample], now: datetime
) -> list[KeyLease]:
    """The leases that should be, from those that are."""
    given = [KeyLease.model_validate(lease) for lease in owner.status.get("leases") or []]
    return plan_leases(spec.limits, given, demands_of(samples), now.timestamp())


def _lease_due(leases: list[KeyLease], now: datetime) -> tuple[float | None]:
    return (change_after_seconds(leases, now.timestamp()),)


def _usage(
    owner: Owner, world: KeyWorld, leases: list[KeyLease]
) -> tuple[Manifest | None, float | None]:
    """What status says of the usage, and when it is worth writing anew."""
    before: Manifest | None = owner.status.get("usage")
    if world.usage is None or before == world.usage.wire():
        return before, None
    leased = [lease.wire() for lease in leases] != (owner.status.get("leases") or [])
    age = USAGE_SECONDS
    if before and before.get("lastUsedTime"):
        age = int((world.now - from_timestamp(before["lastUsedTime"])).total_seconds())
    if leased or age >= USAGE_SECONDS:
        return world.usage.wire(), None
    return before, float(USAGE_SECONDS - age)


def _judge(spec: LLMAccessKeySpec, *, expired: bool) -> Judgement:
    if spec.disabled:
        message = "The key opens nothing: set spec.disabled to false to put it in force"
        return Judgement(False, Reason.DISABLED, message, stalled=True)
    if spec.expires_at is None:
        return Judgement(True, Reason.ACTIVE, f"The key opens {_what(spec.deployments)}")
    at = timestamp(spec.expires_at)
    if expired:
        message = f"The key expired at {at}: set a later spec.expiresAt or make a new key"
        return Judgement(False, Reason.EXPIRED, message, stalled=True)
    message = f"The key opens {_what(spec.deployments)} until {at}"
    return Judgement(True, Reason.ACTIVE, message)


def _what(allowed: AllowedDeployments | None) -> str:
    if allowed is None:
        return "every LLMDeployment of this namespace"
    if allowed.names is not None:
        return f"the LLMDeployments {', '.join(allowed.names)}"
    return "the LLMDeployments of this namespace that spec.deployments.selector selects"


def _status(world: KeyWorld, judgement: Judgement, members: Manifest) -> Manifest:
    return {
        "observedGeneration": world.owner.generation,
        **members,
        "conditions": build_conditions(world.owner, world.now, judgement),
    }
