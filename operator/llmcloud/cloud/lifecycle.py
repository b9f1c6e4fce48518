"""The lifecycle rules of a bucket of ours: what others set stays beside what we set. Pure.

Rules are as each provider's API writes them. Unfinished uploads go after a week, and so do objects
that were overwritten or deleted, which versioning would keep for ever; where a rule of somebody
else decides on the latter, that one alone does.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Rule = Mapping[str, Any]

KEPT_DAYS: Final = 7

S3_UPLOADS: Final[Rule] = {
    "ID": "llmcloud-stale-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": KEPT_DAYS},
}
S3_VERSIONS: Final[Rule] = {
    "ID": "llmcloud-old-versions",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "Expiration": {"ExpiredObjectDeleteMarker": True},
    "NoncurrentVersionExpiration": {"NoncurrentDays": KEPT_DAYS},
}
S3_IDS: Final = frozenset(rule["ID"] for rule in (S3_UPLOADS, S3_VERSIONS))
S3_PLACE: Final = frozenset({"ID", "Filter", "Prefix"})

GCS_UPLOADS: Final[Rule] = {
    "action": {"type": "AbortIncompleteMultipartUpload"},
    "condition": {"age": KEPT_DAYS},
}
GCS_VERSIONS: Final[Rule] = {
    "action": {"type": "Delete"},
    "condition": {"daysSinceNoncurrentTime": KEPT_DAYS},
}
GCS_NONCURRENT: Final = frozenset(
    {"daysSinceNoncurrentTime", "isLive", "noncurrentTimeBefore", "numNewerVersions"}
)


def s3_rules(rules: Sequence[Rule], *, versioned: bool) -> list[Rule] | None:
    """All rules that an S3 bucket should have; None if they are those that it has.

    Without versions there is no rule about them: servers without know none.
    """
    others = [rule for rule in rules if rule.get("ID") not in S3_IDS]
    decided = any(_enabled(rule) and "NoncurrentVersionExpiration" in rule for rule in others)
    ours = [S3_UPLOADS, S3_VERSIONS] if versioned and not decided else [S3_UPLOADS]
    held = {rule["ID"]: _effect(rule) for rule in rules if rule.get("ID") in S3_IDS}
    if held == {rule["ID"]: _effect(rule) for rule in ours}:
        return None
    return [*others, *ours]


def s3_uploads_expire(rules: Sequence[Rule], prefix: str) -> bool:
    """Whether an enabled rule ends unfinished uploads below a prefix."""
    return any(
        _enabled(rule)
        and "AbortIncompleteMultipartUpload" in rule
        and prefix.startswith(_prefix(rule))
        for rule in rules
    )


def gcs_rules(rules: Sequence[Rule]) -> list[Rule] | None:
    """All rules that a bucket of Cloud Storage should have; None if they are those that it has."""
    others = [rule for rule in rules if rule not in (GCS_UPLOADS, GCS_VERSIONS)]
    decided = any(_decides_on_versions(rule) for rule in others)
    ours = [GCS_UPLOADS] if decided else [GCS_UPLOADS, GCS_VERSIONS]
    if [rule for rule in (GCS_UPLOADS, GCS_VERSIONS) if rule in rules] == ours:
        return None
    return [*others, *ours]


def gcs_uploads_expire(rules: Sequence[Rule]) -> bool:
    """Whether unfinished uploads of the S3-like API go by their age alone."""
    return any(
        rule.get("action") == GCS_UPLOADS["action"] and set(rule.get("condition", {})) == {"age"}
        for rule in rules
    )


def _enabled(rule: Rule) -> bool:
    return bool(rule.get("Status") == "Enabled")


def _effect(rule: Rule) -> dict[str, Any]:
    """Without where it holds: servers write "everywhere" in several ways."""
    return {key: value for key, value in rule.items() if key not in S3_PLACE}


def _prefix(rule: Rule) -> str:
    """Where the rule holds; a character that no prefix has, if it asks for more than a prefix."""
    found = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
    return str(found.get("Prefix", "")) if set(found) <= {"Prefix"} else "\0"


def _decides_on_versions(rule: Rule) -> bool:
    condition = rule.get("condition", {})
    return rule.get("action", {}).get("type") == "Delete" and bool(GCS_NONCURRENT & set(condition))
