"""LLMAccessKey: whether it is in force. Gateways read the objects themselves (decision 040)."""

from dataclasses import dataclass
from datetime import datetime

from llmcloud.api.accesskey import AllowedDeployments, LLMAccessKeySpec
from llmcloud.api.names import Reason
from llmcloud.plan.conditions import Judgement, build_conditions
from llmcloud.plan.model import Manifest, Owner, Plan, PodDefaults, parse, timestamp


@dataclass(frozen=True)
class KeyWorld:
    """An LLMAccessKey."""

    owner: Owner
    now: datetime


def plan_access_key(world: KeyWorld, _: PodDefaults) -> Plan:
    """A status, and a look at the moment of expiry."""
    owner = world.owner
    if owner.deleting:
        return Plan()
    spec = parse(LLMAccessKeySpec, owner.spec)
    if isinstance(spec, str):
        return Plan(status=_status(world, Judgement(False, Reason.SPEC_INVALID, spec, True)))
    left = None
    if spec.expires_at is not None:
        left = (spec.expires_at - world.now).total_seconds()
    judgement = _judge(spec, expired=left is not None and left <= 0)
    again = left if judgement.ready else None
    return Plan(status=_status(world, judgement), requeue_seconds=again)


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


def _status(world: KeyWorld, judgement: Judgement) -> Manifest:
    return {
        "observedGeneration": world.owner.generation,
        "conditions": build_conditions(world.owner, world.now, judgement),
    }
