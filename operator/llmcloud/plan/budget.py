"""When a training job's budget of accelerator-hours is spent.

Decided by the time since the containers started, so that a pod which tells nothing is stopped too;
what is in the status follows from what was told.
"""

import math
from dataclasses import replace

from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.goodput import (
    HOUR_SECONDS,
    Totals,
    devices_of,
    held_now,
    last_told,
    totals_of,
)
from llmcloud.plan.model import Manifest, Plan
from llmcloud.plan.training_world import TrainingWorld


def is_spent(world: TrainingWorld, spec: LLMTrainingJobSpec) -> bool:
    """Whether the job's pods have to stop."""
    return spec.budget is not None and _left(world, spec) <= 0


def goodput(world: TrainingWorld, spec: LLMTrainingJobSpec) -> Manifest:
    """The member `goodput` of the status; empty before there is anything to tell.

    A budget that is spent stays so when the pods are gone.
    """
    devices = devices_of(spec)
    totals = totals_of(world, devices)
    if spec.budget is not None and is_spent(world, spec):
        whole = math.ceil(spec.budget.accelerator_hours * HOUR_SECONDS)
        totals = totals.at_least(Totals(accelerator=whole))
    if totals == Totals():
        return {}
    members = totals.wire(accelerated=devices > 0)
    told = last_told(world, world.recorded)
    known = (world.owner.status.get("goodput") or {}).get("mfu")
    mfu = told.mfu if told is not None and told.mfu is not None else known
    return {"goodput": members if mfu is None else members | {"mfu": mfu}}


def watched(plan: Plan, world: TrainingWorld, spec: LLMTrainingJobSpec) -> Plan:
    """The plan, looked at again when the budget is spent."""
    _, rate = held_now(world, devices_of(spec))
    if spec.budget is None or not rate or is_spent(world, spec):
        return plan
    left_seconds = _left(world, spec) / rate
    soonest = min(plan.requeue_seconds or left_seconds, left_seconds)
    return replace(plan, requeue_seconds=soonest)


def _left(world: TrainingWorld, spec: LLMTrainingJobSpec) -> float:
    """Seconds of one accelerator that are left."""
    assert spec.budget is not None
    held, _ = held_now(world, devices_of(spec))
    return spec.budget.accelerator_hours * HOUR_SECONDS - held
