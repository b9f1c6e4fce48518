"""Our lifecycle rules beside those of others."""

from typing import Any

import pytest

from llmcloud.cloud.lifecycle import (
    GCS_UPLOADS,
    GCS_VERSIONS,
    S3_UPLOADS,
    S3_VERSIONS,
    gcs_rules,
    s3_rules,
)

THEIRS = {"ID": "theirs", "Status": "Enabled", "Prefix": "logs/", "Expiration": {"Days": 3}}
THEIR_VERSIONS = {
    "ID": "versions",
    "Status": "Enabled",
    "Filter": {},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 365},
}
GCS_THEIRS = {"action": {"type": "Delete"}, "condition": {"age": 3, "matchesPrefix": ["logs/"]}}
GCS_THEIR_VERSIONS = {"action": {"type": "Delete"}, "condition": {"numNewerVersions": 3}}


@pytest.mark.parametrize(
    ("found", "versioned", "wanted"),
    [
        pytest.param([], True, [S3_UPLOADS, S3_VERSIONS], id="a new bucket"),
        pytest.param([], False, [S3_UPLOADS], id="no versions, no rule about them"),
        pytest.param([THEIRS], True, [THEIRS, S3_UPLOADS, S3_VERSIONS], id="another rule stays"),
        pytest.param(
            [S3_UPLOADS, THEIRS, S3_VERSIONS, THEIR_VERSIONS], True,
            [THEIRS, THEIR_VERSIONS, S3_UPLOADS], id="another rule decides on old versions",
        ),
        pytest.param(
            [{**THEIR_VERSIONS, "Status": "Disabled"}, S3_UPLOADS], True,
            [{**THEIR_VERSIONS, "Status": "Disabled"}, S3_UPLOADS, S3_VERSIONS],
            id="not one that is off",
        ),
        pytest.param(
            [{**S3_UPLOADS, "Status": "Disabled"}, S3_VERSIONS], True, [S3_UPLOADS, S3_VERSIONS],
            id="ours is switched on again",
        ),
        pytest.param(
            [THEIRS, {**S3_VERSIONS, "Filter": {}}, S3_UPLOADS], True, None,
            id="nothing is missing",
        ),
    ],
)  # fmt: skip
def test_the_rules_of_s3(found: Any, versioned: bool, wanted: Any) -> None:
    assert s3_rules(found, versioned=versioned) == wanted


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        pytest.param([], [GCS_UPLOADS, GCS_VERSIONS], id="a new bucket"),
        pytest.param(
            [GCS_UPLOADS, GCS_THEIRS], [GCS_THEIRS, GCS_UPLOADS, GCS_VERSIONS],
            id="another rule stays",
        ),
        pytest.param(
            [GCS_THEIR_VERSIONS, GCS_UPLOADS, GCS_VERSIONS], [GCS_THEIR_VERSIONS, GCS_UPLOADS],
            id="another rule decides on old versions",
        ),
        pytest.param([GCS_VERSIONS, GCS_THEIRS, GCS_UPLOADS], None, id="nothing is missing"),
    ],
)  # fmt: skip
def test_the_rules_of_cloud_storage(found: Any, wanted: Any) -> None:
    assert gcs_rules(found) == wanted
