"""Which revision serves, which one is tried beside it, and which was tried and rolled back.

A revision is a Deployment of its own, named by a hash of its pods' template. What serves is
replaced in one of two ways: replica by replica, or after a canary, which gets a share of the
requests and is judged against what serves. The status is the only memory: a step lasts from
`stepStartTime`, which also names the window in which gateways count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from llmcloud.api.rollout import Canary
from llmcloud.plan.canary import LONGEST_STEP, Evidence, complaint
from llmcloud.plan.model import Manifest, from_timestamp, timestamp

LOOK_SECONDS: Final = 5.0
"""How often the counts of a canary are looked at."""
MOST_REPLACED: Final = 8


@dataclass(frozen=True)
class RevisionView:
    """The replicas of a revision, as its Deployment has them."""

    replicas: int
    ready: int
    late: bool = False
    """The cluster gave it up: no replica became ready within the progress deadline."""


@dataclass(frozen=True)
class Wanted:
    """The revision that the specification and the newest model make."""

    revision: str
    digest: str | None = None
    training_job: str | None = None
    generation: int = 0
    """Of the specification."""

    def told(self) -> Manifest:
        """As the status tells it."""
        told = {
            "revision": self.revision, "digest": self.digest, "trainingJob": self.training_job,
        }  # fmt: skip
        return {key: value for key, value in told.items() if value is not None}


@dataclass(frozen=True)
class Rollout:
    """Who serves: `stable` and, until it has replicas enough, what it `replaces`."""

    stable: str
    replaces: tuple[str, ...] = ()
    canary: Manifest | None = None
    """`status.canary`."""
    rejected: Manifest | None = None
    """`status.model.rejected`."""


@dataclass(frozen=True)
class Look:
    """What is asked for, and what is seen."""

    wanted: Wanted
    settings: Canary | None
    there: Mapping[str, RevisionView]
    """The Deployments by revision."""
    replicas: int
    """Of all revisions that serve, as the load needs them."""
    now: datetime
    evidence: Evidence | None = None
    """What gateways counted since the step began; None while they do not answer."""
    trouble: str = ""
    """What keeps replicas of the wanted revision from being ready."""


def decide(status: Manifest, look: Look) -> Rollout:
    """What follows from the status, and from what is seen."""
    model, there, wanted = status.get("model") or {}, look.there, look.wanted
    stable, rejected = model.get("revision"), model.get("rejected")
    replaces = tuple(one for one in model.get("replaces") or () if one in there)
    if stable is None:
        others = sorted(one for one in there if one != wanted.revision)
        return Rollout(wanted.revision, tuple(others)[-MOST_REPLACED:])
    if wanted.revision == stable:
        return Rollout(stable, replaces)
    serving = there.get(stable)
    if look.settings is None or serving is None or (serving.late and not serving.ready):
        kept = (one for one in (*replaces, stable) if one in there and one != wanted.revision)
        return Rollout(wanted.revision, tuple(kept)[-MOST_REPLACED:])
    if rejected is not None and _is_rejected(rejected, wanted, model):
        return Rollout(stable, replaces, None, rejected)
    canary = status.get("canary") or {}
    if canary.get("revision") != wanted.revision:
        canary = {**wanted.told(), "weight": _steps(look.settings)[0]}
    before = Rollout(stable, replaces, canary, rejected)
    return _go_on(before, canary, look.settings, look)


def _is_rejected(rejected: Manifest, wanted: Wanted, stable: Manifest) -> bool:
    """Whether it is what was rejected: the same revision; or the same model, if that was what had
    changed, under the same specification. Other images do not make a model better."""
    if rejected["revision"] == wanted.revision:
        return True
    return (
        wanted.digest is not None
        and rejected.get("digest") == wanted.digest != stable.get("digest")
        and rejected.get("generation") == wanted.generation
    )


def _go_on(before: Rollout, canary: Manifest, settings: Canary, look: Look) -> Rollout:
    """The canary as it is, raised, promoted or rejected."""

    def stay(since: str | None) -> Rollout:
        told = {**canary, "stepStartTime": since}
        return replace(before, canary={k: v for k, v in told.items() if v is not None})

    tried = look.there.get(look.wanted.revision, RevisionView(0, 0))
    began = canary.get("stepStartTime")
    if look.replicas == 0:
        return stay(None)
    passed = (look.now - from_timestamp(began)).total_seconds() if began else 0.0
    why = _why_not(before.stable, settings, look, tried, passed)
    if why:
        told = {
            **look.wanted.told(), "message": why[:1024], "time": timestamp(look.now),
            "generation": look.wanted.generation,
        }  # fmt: skip
        return replace(before, canary=None, rejected=told)
    if began is None:
        return stay(timestamp(look.now) if tried.ready else None)
    if not _ends(canary["weight"], settings, look, tried, passed):
        return stay(began)
    higher = [weight for weight in _steps(settings) if weight > canary["weight"]]
    if higher:
        canary = {**canary, "weight": higher[0]}
        return stay(timestamp(look.now))
    return Rollout(look.wanted.revision, (*before.replaces, before.stable)[-MOST_REPLACED:])


def _why_not(stable: str, settings: Canary, look: Look, tried: RevisionView, passed: float) -> str:
    """Why the canary is to be rolled back; empty if it is not."""
    last = passed >= LONGEST_STEP * settings.step_seconds
    if tried.late and not tried.ready:
        return f"no replica became ready in time. {look.trouble}".rstrip(". ")
    if last and not tried.ready:
        return f"none of its replicas is ready any more. {look.trouble}".rstrip(". ")
    if look.evidence is None or not passed:
        return ""
    seen, beside = look.evidence.of(look.wanted.revision), look.evidence.of(stable)
    return complaint(beside, seen, settings.abort, last=last)


def _ends(weight: int, settings: Canary, look: Look, tried: RevisionView, passed: float) -> bool:
    """Whether the step has lasted, with replicas enough for its share and requests enough."""
    if look.evidence is None:
        return False
    if passed >= LONGEST_STEP * settings.step_seconds:
        return True
    requests = look.evidence.of(look.wanted.revision).requests
    return (
        passed >= settings.step_seconds
        and tried.ready >= part(look.replicas, weight)
        and requests >= settings.abort.min_requests
    )


def _steps(settings: Canary) -> list[int]:
    return sorted(set(settings.steps))


def counting_window(status: Manifest) -> str:
    """The window in which gateways count; its name is another in every step."""
    began: str = (status.get("canary") or {}).get("stepStartTime", "")
    return began


def look_again_seconds(
    rollout: Rollout, settings: Canary | None, now: datetime, next_late_seconds: float | None
) -> float | None:
    """When the canary's counts, the end of its step or its lateness are worth a look."""
    if rollout.canary is None or settings is None:
        return None
    moments = [] if next_late_seconds is None else [next_late_seconds]
    began = rollout.canary.get("stepStartTime")
    if began is not None:
        passed = (now - from_timestamp(began)).total_seconds()
        ends = (settings.step_seconds, LONGEST_STEP * settings.step_seconds)
        moments += [LOOK_SECONDS, *(end - passed for end in ends if end > passed)]
    return min(moments, default=None)


def sizes(rollout: Rollout, there: Mapping[str, RevisionView], replicas: int) -> dict[str, int]:
    """The replicas of each revision that serves or is tried; together `replicas`, and one more
    while any is replaced. What is not named here has been replaced.

    A revision shrinks only by what another has ready, and grows only into the room that is left,
    so that a cluster with room for one more replica is enough.
    """
    found: dict[str, int] = {}
    side = replicas
    if rollout.canary is not None:
        revision, weight = rollout.canary["revision"], rollout.canary["weight"]
        ready = there[revision].ready if revision in there else 0
        share = part(replicas, weight)
        side = max(part(replicas, 100 - weight), replicas - min(ready, share))
        found[revision] = min(share, replicas + 1 - side)
    ready = there[rollout.stable].ready if rollout.stable in there else 0
    gap = max(0, side - ready)
    kept = 0
    for revision in rollout.replaces:
        old = there.get(revision, RevisionView(0, 0))
        size = min(old.replicas, gap - kept) if old.ready else 0
        if size:
            found[revision] = size
            kept += size
    found[rollout.stable] = min(side, side + 1 - kept) if kept else side
    return found


def part(replicas: int, percent: int) -> int:
    """A share of the replicas, rounded up."""
    return -(-replicas * percent // 100)
