"""LLMDataset with the tokenizer of a model: which model, and what must come first."""

import json
from typing import Any

import pytest

from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.names import Kind, Reason
from llmcloud.plan.dataset import DatasetWorld, dataset_stores, plan_dataset
from llmcloud.plan.model import Manifest, Owner, Plan
from tests.support.worlds import (
    DEFAULTS,
    MODEL_DIGEST,
    NOW,
    PREPARED,
    VERSION_1,
    by_type,
    complete_training,
    make_owner,
    ready_store,
    said,
    succeeded_job,
)

SECRET = {"name": "hub", "key": "token"}
OTHER_DIGEST = "sha256:" + "9" * 64
STORES = tuple((name, ready_store(name)) for name in ("work", "raw", "models"))


def plan(
    model: Manifest, *trainings: Owner, status: Manifest | None = None, jobs: Any = ()
) -> Plan:
    owner = make_owner(Kind.DATASET, spec={"tokenizer": {"model": model}}, status=status)
    return plan_dataset(DatasetWorld(owner, STORES, jobs, NOW, trainings=trainings), DEFAULTS)


def model_of(planned: Plan) -> Manifest:
    (container,) = planned.applies[0]["spec"]["template"]["spec"]["containers"]
    model: Manifest = json.loads(container["env"][0]["value"])["tokenizerModel"]
    return model


def test_a_model_of_the_hub_is_asked_with_its_token_and_the_rules_of_the_web() -> None:
    planned = plan({"hub": {"name": "team/base", "revision": "v1", "tokenSecretRef": SECRET}})
    file = "/var/run/llmcloud/hub/tokenizer/token"
    hub = {"name": "team/base", "revision": "v1", "tokenFile": file}
    assert model_of(planned) == {"hub": hub}
    pod = planned.applies[0]["spec"]["template"]["spec"]
    task = json.loads(pod["containers"][0]["env"][0]["value"])
    assert "network" in task
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["hub-tokenizer"] == file.rpartition("/")[0]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "hub-tokenizer"]
    assert volume["secret"]["secretName"] == "hub"


def test_a_model_in_a_store_is_read_there() -> None:
    model = {"store": {"name": "models", "path": "base/"}}
    stored = model_of(plan(model))["stored"]
    assert (stored["store"]["name"], stored["path"]) == ("models", "base/")
    spec = make_owner(Kind.DATASET, spec={"tokenizer": {"model": model}}).spec
    assert "models" in dataset_stores(LLMDatasetSpec.model_validate(spec))


def test_a_jobs_model_is_read_with_its_digests() -> None:
    job = complete_training()
    job.status["model"]["tokenizerDigest"] = OTHER_DIGEST
    stored = model_of(plan({"trainingJob": {"name": "train"}}, job))["stored"]
    assert (stored["digest"], stored["tokenizerDigest"]) == (MODEL_DIGEST, OTHER_DIGEST)
    assert stored["path"] == job.spec["output"]["store"]["path"]


@pytest.mark.parametrize(
    ("trainings", "reason"),
    [
        pytest.param((), Reason.TRAINING_JOB_NOT_FOUND, id="a job that is not there"),
        pytest.param(
            (make_owner(Kind.TRAINING_JOB, "train"),), Reason.MODEL_NOT_READY,
            id="a job that still trains",
        ),
    ],
)  # fmt: skip
def test_a_dataset_waits_for(trainings: tuple[Owner, ...], reason: Reason) -> None:
    planned = plan({"trainingJob": {"name": "train"}}, *trainings)
    assert said(planned.status) == ("False", reason)
    assert by_type(planned.status)["Reconciling"]["status"] == "True"
    assert planned.applies == ()


def test_what_is_prepared_outlives_the_job_whose_tokenizer_it_has() -> None:
    model = {"trainingJob": {"name": "train"}}
    first = plan(model, complete_training())
    recipe = first.applies[0]["metadata"]["annotations"]["llmcloud.dev/recipe"]
    good = plan(model, jobs=(succeeded_job(PREPARED, recipe=recipe),)).status
    planned = plan(model, status=good)
    assert planned.applies == ()
    assert said(planned.status) == ("True", "Prepared")
    assert (planned.status or {})["version"] == VERSION_1
