"""What the operator itself accepts; CEL rules are tested on a real API server."""

import pytest
from pydantic import ValidationError

from llmcloud.api.contract import TASK, FetchTask, Outcome
from llmcloud.api.kinds import KINDS
from llmcloud.api.names import Kind, Reason
from llmcloud.plan.model import Manifest
from tests.support.worlds import SPECS


@pytest.mark.parametrize("kind", list(Kind))
def test_the_smallest_object_of_each_kind(kind: Kind) -> None:
    spec = KINDS[kind].spec.model_validate(SPECS[kind])
    assert KINDS[kind].spec.model_validate(spec.wire()) == spec


@pytest.mark.parametrize(
    ("kind", "members", "field"),
    [
        pytest.param(Kind.OBJECT_STORE, {"bucket": "A"}, "bucket", id="a bucket in capitals"),
        pytest.param(Kind.OBJECT_STORE, {"prefix": "/a/"}, "prefix", id="a prefix from the root"),
        pytest.param(Kind.OBJECT_STORE, {"prefix": "a"}, "prefix", id="a prefix without an end"),
        pytest.param(Kind.OBJECT_STORE, {"provider": "nfs"}, "provider", id="no such provider"),
        pytest.param(
            Kind.OBJECT_STORE, {"credentials": {"aws": {"roleArn": "trainer"}}}, "roleArn",
            id="a role that is no ARN",
        ),
        pytest.param(
            Kind.OBJECT_STORE, {"azure": {"account": "team-a"}}, "account",
            id="an account with a dash",
        ),
        pytest.param(
            Kind.OBJECT_STORE, {"endpoint": {"url": "minio:9000"}}, "url", id="a URL of no scheme"
        ),
        pytest.param(Kind.DATASET, {"sources": []}, "sources", id="no source"),
        pytest.param(
            Kind.DATASET, {"prepare": {"split": {"validationFraction": 0.9}}},
            "validationFraction", id="more held out than trained on",
        ),
        pytest.param(
            Kind.DATASET, {"prepare": {"redact": {"entities": ["names"]}}}, "entities",
            id="personal data that nobody finds",
        ),
        pytest.param(
            Kind.DATASET, {"prepare": {"clean": {"languages": ["English"]}}}, "languages",
            id="a language that is no code",
        ),
        pytest.param(
            Kind.DATASET, {"prepare": {"deduplicate": {"near": {"similarityPercent": 99}}}},
            "similarityPercent", id="a similarity that nothing has",
        ),
        pytest.param(
            Kind.TRAINING_JOB, {"datasets": [{"name": "a", "weight": 0}]}, "weight",
            id="a dataset of no weight",
        ),
        pytest.param(
            Kind.TRAINING_JOB, {"hyperparameters": {"maxSteps": 0}}, "maxSteps", id="no steps"
        ),
        pytest.param(
            Kind.TRAINING_JOB, {"resources": {"memory": "much"}}, "memory", id="no quantity"
        ),
        pytest.param(
            Kind.TRAINING_JOB, {"datasets": [{"name": "a", "version": "latest"}]}, "version",
            id="a version that is no digest",
        ),
        pytest.param(
            Kind.DEPLOYMENT, {"servedModelName": "a b"}, "servedModelName", id="a name with a space"
        ),
        pytest.param(Kind.DEPLOYMENT, {"replicas": -1}, "replicas", id="fewer than none"),
    ],
)  # fmt: skip
def test_refused(kind: Kind, members: Manifest, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        KINDS[kind].spec.model_validate({**SPECS[kind], **members})
    assert field in [str(part) for part in refused.value.errors()[0]["loc"]]


def test_a_task_is_known_by_its_kind() -> None:
    store = {"name": "s", "provider": "aws", "bucket": "b"}
    task = TASK.validate_python(
        {"kind": "fetch", "store": store, "path": "m/", "destination": "/models/m"}
    )
    assert isinstance(task, FetchTask)


def test_an_outcome_fits_its_message_on_the_wire() -> None:
    outcome = Outcome(succeeded=False, reason=Reason.CRASHED, message="x" * 1024)
    assert Outcome.model_validate_json(outcome.model_dump_json(by_alias=True)) == outcome
