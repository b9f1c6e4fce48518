"""What is left of a training job that has ended: its pods and their logs, and for how long.

Nothing goes before the result is in the status, so that no attempt follows for want of its Job.
"""

from datetime import datetime

from llmcloud.api.names import Condition
from llmcloud.api.training import PODS_TTL_SECONDS
from llmcloud.plan.conditions import seen_again
from llmcloud.plan.model import Owner, Plan, from_timestamp
from llmcloud.plan.training_world import TrainingWorld

FINAL = (Condition.COMPLETE, Condition.FAILED)


def is_final(owner: Owner) -> bool:
    """Whether the job is Complete or Failed, of whatever generation."""
    return any(owner.condition(type_).get("status") == "True" for type_ in FINAL)


def kept_seconds(owner: Owner, now: datetime) -> float:
    """How long the Jobs of what is final and their pods still stay; at most 0: they may go."""
    moments = [
        from_timestamp(condition["lastTransitionTime"])
        for condition in map(owner.condition, FINAL)
        if condition.get("status") == "True"
    ]
    ttl_seconds = owner.spec.get("podsTTLSeconds", PODS_TTL_SECONDS)
    return float(ttl_seconds - (now - max(moments)).total_seconds())


def plan_ended(world: TrainingWorld) -> Plan:
    """The status stays as it is; the Jobs go when their time is over, and their pods with them."""
    left = kept_seconds(world.owner, world.now)
    status = seen_again(world.owner)
    if left > 0:
        return Plan(status=status, requeue_seconds=left)
    return Plan(deletes=tuple(j.ref for j in world.jobs if not j.deleting), status=status)
