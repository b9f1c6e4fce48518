"""Versions of a dataset over time: when to look again, which are kept, which may go."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from llmcloud.plan.attempts import Attempt, State
from llmcloud.plan.model import Manifest, Owner
from llmcloud.plan.training import is_final

DROP_SECONDS = 60.0
"""A version goes so long after a newer one came: what begins at that moment still pins it."""
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


def held_versions(owner: Owner, attempt: Attempt) -> list[str]:
    """All versions, the newest first, after what the attempt came to."""
    versions: list[str] = list(owner.status.get("versions") or [])
    result = attempt.outcome.dataset if attempt.outcome is not None else None
    if attempt.state is not State.SUCCEEDED or result is None:
        return versions
    kept = [version for version in versions if version not in result.dropped]
    return list(dict.fromkeys([result.version, *kept]))[:STATUS_VERSIONS]


def excess(versions: Sequence[str], keep: int, in_use: frozenset[str]) -> list[str]:
    """What may go, the oldest first; the newest never does."""
    old = [version for version in versions[max(1, keep) :] if version not in in_use]
    return old[::-1][:DROPPED_AT_ONCE]


def seconds_until(attempt: Attempt, now: datetime, wait_seconds: float) -> float:
    """Until so many seconds after the attempt has ended."""
    assert attempt.job is not None
    assert attempt.job.finished is not None
    return (attempt.job.finished + timedelta(seconds=wait_seconds) - now).total_seconds()
