"""Versions of a dataset over time: when to look again, which are kept, which may go.

A version that is too many leaves `status.versions` first, and no job begins with it from then on.
It is removed later, if none that began before names or has pinned it; else it comes back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from llmcloud.plan.attempts import Attempt
from llmcloud.plan.children import JobView
from llmcloud.plan.ended import is_final
from llmcloud.plan.model import Manifest, Owner, from_timestamp, timestamp

DROP_SECONDS = 60.0
"""Between the two: what begins at that moment still pins it."""
IN_USE_SECONDS = 300.0
"""When to look again whether a version that should go is still in use."""
DROPPED_AT_ONCE = 16
STATUS_VERSIONS = 64


def versions_in_use(trainings: Iterable[Owner]) -> frozenset[str]:
    """Versions that jobs which are not final name or have pinned."""
    found: set[str] = set()
    for job in trainings:
        if is_final(job):
            continue
        inputs: Manifest = job.status.get("inputs") or {}
        evaluation: Manifest = job.spec.get("evaluation") or {}
        named = [
            *(job.spec.get("datasets") or []),
            *(inputs.get("datasets") or []),
            inputs.get("evaluation") or {},
            evaluation.get("dataset") or {},
        ]
        found |= {item["version"] for item in named if item.get("version")}
    return frozenset(found)


def versions_may_go(owner: Owner, keep: int, jobs: Iterable[JobView]) -> bool:
    """Whether the next decision needs to know which versions are in use."""
    many = bool(owner.status.get("dropping")) or len(owner.status.get("versions", ())) >= keep
    return many and not any(job.active for job in jobs)


@dataclass(frozen=True)
class Versions:
    """What the status should tell: versions that jobs may begin with, the newest first, and those
    that are removed at `drop_time`, the oldest first."""

    held: list[str]
    dropping: list[str]
    drop_time: str

    @property
    def members(self) -> Manifest:
        dropping = {"versions": self.dropping, "time": self.drop_time}
        return {"versions": self.held, **({"dropping": dropping} if self.dropping else {})}


def decide_versions(
    owner: Owner, attempt: Attempt, keep: int, in_use: frozenset[str], now: datetime
) -> Versions:
    """After an attempt that has succeeded. The newest version never goes."""
    assert attempt.outcome is not None
    result = attempt.outcome.dataset
    assert result is not None
    before: Manifest = owner.status.get("dropping") or {}
    gone = {*result.dropped, result.version}
    doomed = [version for version in before.get("versions", ()) if version not in gone]
    spared = [version for version in doomed if version in in_use]
    dropping = [version for version in doomed if version not in in_use]
    told = owner.status.get("versions") or []
    kept = [version for version in told if version not in result.dropped]
    versions = list(dict.fromkeys([result.version, *kept, *reversed(spared)]))
    dropping += _excess(versions, keep, in_use, DROPPED_AT_ONCE - len(dropping))
    held = [version for version in versions if version not in dropping][:STATUS_VERSIONS]
    drop_time = timestamp(now + timedelta(seconds=DROP_SECONDS))
    if before and dropping == before["versions"]:
        drop_time = before["time"]
    return Versions(held, dropping, drop_time)


def _excess(versions: Sequence[str], keep: int, in_use: frozenset[str], most: int) -> list[str]:
    old = [version for version in versions[max(1, keep) :] if version not in in_use]
    return old[::-1][:most]


def nothing_dropped(members: Manifest) -> Manifest:
    """Of a status, where no Job follows that would remove versions: they come back."""
    dropping = members.get("dropping", {}).get("versions", ())
    kept = {key: value for key, value in members.items() if key != "dropping"}
    return {**kept, "versions": [*members.get("versions", ()), *reversed(dropping)]}


def drop_seconds(versions: Versions, attempt: Attempt, now: datetime) -> float:
    """Until they may be removed; after an attempt it takes as long before the next one."""
    due = (from_timestamp(versions.drop_time) - now).total_seconds()
    return max(due, seconds_until(attempt, now, DROP_SECONDS))


def seconds_until(attempt: Attempt, now: datetime, wait_seconds: float) -> float:
    """Until so many seconds after the attempt has ended."""
    assert attempt.job is not None
    assert attempt.job.finished is not None
    return (attempt.job.finished + timedelta(seconds=wait_seconds) - now).total_seconds()
