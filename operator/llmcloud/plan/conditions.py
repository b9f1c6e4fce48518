"""Conditions: built whole each time; a transition time moves only when the status flips."""

from dataclasses import dataclass
from datetime import datetime

from llmcloud.api.kinds import KINDS
from llmcloud.api.names import Condition, Reason
from llmcloud.plan.model import Manifest, Notice, Owner, timestamp

MESSAGE_CHARACTERS = 2048


@dataclass(frozen=True)
class Judgement:
    """What is said of an object: its Ready condition, and what follows from it.

    `ready` None means not yet known. `stalled`: nothing changes without the user.
    """

    ready: bool | None
    reason: Reason
    message: str
    stalled: bool = False
    reconciling: bool = False


def _word(value: bool | None) -> str:
    return "Unknown" if value is None else str(value)


def _extra(
    judgement: Judgement, type_: Condition, holds: bool, otherwise: Reason
) -> tuple[Condition, bool, Reason, str]:
    reason, message = (judgement.reason, judgement.message) if holds else (otherwise, "")
    return type_, holds, reason, message


def build_conditions(
    owner: Owner,
    now: datetime,
    judgement: Judgement,
    *,
    complete: bool = False,
    failed: bool = False,
    suspended: bool = False,
) -> list[Manifest]:
    """All conditions of the object's kind, in a fixed order."""
    rows: list[tuple[Condition, bool | None, Reason, str]] = [
        (Condition.READY, judgement.ready, judgement.reason, judgement.message),
        _extra(judgement, Condition.RECONCILING, judgement.reconciling, Reason.UP_TO_DATE),
        _extra(judgement, Condition.STALLED, judgement.stalled, Reason.UP_TO_DATE),
    ]
    extras = {
        Condition.COMPLETE: (complete, Reason.PENDING),
        Condition.FAILED: (failed, Reason.NOT_FAILED),
        Condition.SUSPENDED: (suspended, Reason.NOT_SUSPENDED),
    }
    for type_ in KINDS[owner.kind].conditions:
        if type_ in extras:
            rows.append(_extra(judgement, type_, *extras[type_]))
    return [_condition(owner, now, *row) for row in rows]


def _condition(
    owner: Owner,
    now: datetime,
    type_: Condition,
    holds: bool | None,
    reason: Reason,
    message: str,
) -> Manifest:
    before = owner.condition(type_)
    status = _word(holds)
    flipped = before.get("status") != status
    return {
        "type": str(type_),
        "status": status,
        "observedGeneration": owner.generation,
        "lastTransitionTime": timestamp(now) if flipped else before["lastTransitionTime"],
        "reason": str(reason),
        "message": message[:MESSAGE_CHARACTERS],
    }


def seen_again(owner: Owner) -> Manifest:
    """The status of what is final: nothing is judged anew, only the generation was looked at."""
    seen = {"observedGeneration": owner.generation}
    conditions = [{**c, **seen} for c in owner.status.get("conditions") or []]
    return {**owner.status, **seen, "conditions": conditions}


def reason_of(status: Manifest, type_: Condition) -> str:
    """The reason of a status' condition; empty if it has none."""
    conditions = status.get("conditions") or []
    return next((c["reason"] for c in conditions if c["type"] == type_), "")


def notices(before: Manifest, after: Manifest) -> list[Notice]:
    """The events that a change of status deserves: one if Ready's status or reason changed, and
    one for a step of a canary."""
    return [*_of_ready(before, after), *_of_the_canary(before, after)]


def _of_the_canary(before: Manifest, after: Manifest) -> list[Notice]:
    old, new = before.get("canary") or {}, after.get("canary") or {}
    if new and new.get("revision") != old.get("revision"):
        message = f"Revision {new['revision']} is to be tried with {new['weight']} % of requests"
        return [Notice(False, Reason.CANARY_STARTED, message)]
    if new and new["weight"] != old["weight"]:
        message = f"Revision {new['revision']} did well with {old['weight']} % of the requests "
        message += f"and gets {new['weight']} %"
        return [Notice(False, Reason.CANARY_RAISED, message)]
    if old and (after.get("model") or {}).get("revision") == old["revision"]:
        message = f"Revision {old['revision']} did well and replaces what served before"
        return [Notice(False, Reason.CANARY_PROMOTED, message)]
    return []


def _of_ready(before: Manifest, after: Manifest) -> list[Notice]:
    old = {c["type"]: c for c in before.get("conditions") or []}
    new = {c["type"]: c for c in after.get("conditions") or []}
    ready = new.get(Condition.READY)
    if ready is None:
        return []
    previous = old.get(Condition.READY, {})
    if (previous.get("status"), previous.get("reason")) == (ready["status"], ready["reason"]):
        return []
    stalled = new.get(Condition.STALLED, {}).get("status") == "True"
    return [Notice(stalled, ready["reason"], ready["message"] or ready["reason"])]
