"""What the API server's refusals mean."""

import json

import pytest

from llmcloud.cluster.client import ClusterError, Gone, NotAllowed, Refused, Transient, _error

LACKS = (
    'jobs.batch is forbidden: User "system:serviceaccount:system:llmcloud-operator" cannot create '
    'resource "jobs" in API group "batch" in the namespace "ns"'
)
QUOTA = 'jobs.batch "it-store-a1" is forbidden: exceeded quota: q, requested: count/jobs.batch=1'


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        pytest.param(403, LACKS, NotAllowed, id="a right that the operator lacks"),
        pytest.param(403, QUOTA, Refused, id="a quota"),
        pytest.param(422, "Job is invalid", Refused, id="an invalid object"),
        pytest.param(404, "not found", Gone, id="what is gone"),
        pytest.param(409, "conflict", Transient, id="what passes"),
    ],
)
def test_the_kind_of_an_error(status: int, message: str, kind: type[ClusterError]) -> None:
    error = _error(status, json.dumps({"message": message}).encode())
    assert type(error) is kind
    assert (error.status, error.message) == (status, message)
