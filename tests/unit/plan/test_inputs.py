"""What an attempt is made of: which versions and models, and what is refused before a pod."""

import json
from dataclasses import replace
from typing import Any

import pytest

from llmcloud.api.contract import Progress, TrainingTask
from llmcloud.api.names import Kind, Reason
from llmcloud.plan.children import ANNOTATION_INPUTS, JobView
from llmcloud.plan.model import Manifest, Owner, Plan, owner_from
from llmcloud.plan.training import plan_training
from llmcloud.plan.training_world import TrainingWorld, as_loaded, rival_of
from tests.support.worlds import (
    DEFAULTS,
    MODEL_DIGEST,
    NOW,
    TRAINING_SPEC,
    VERSION_1,
    VERSION_2,
    by_type,
    condition,
    make_job,
    make_owner,
    ready_store,
)

STORES = (("work", ready_store("work")), ("other", ready_store("other")))
TOKENIZER = "sha256:" + "c" * 64
OTHER_DIGEST = "sha256:" + "b" * 64
TUNED: Manifest = {
    "model": {"trainingJob": {"name": "base"}},
    "method": "finetune",
}
DISTILLED: Manifest = {
    "method": "distill",
    "distill": {"teacher": {"trainingJob": {"name": "base"}}},
}


def dataset(type_: str = "text", name: str = "corpus", tokenizer: str = TOKENIZER) -> Owner:
    status = {
        "version": VERSION_1,
        "tokenizer": {"digest": tokenizer},
        "conditions": [condition("Ready", "True", "Prepared")],
    }
    return make_owner(Kind.DATASET, name, spec={"type": type_}, status=status)


def trained(
    name: str = "base",
    *,
    digest: str = MODEL_DIGEST,
    tokenizer: str = TOKENIZER,
    complete: bool = True,
    ended: str = "2026-05-01T12:00:00Z",
    labels: dict[str, str] | None = None,
    kind: str = "full",
    **spec: Any,
) -> Owner:
    """A job with a model in the store `other`."""
    end = condition("Complete", str(complete), "Succeeded") | {"lastTransitionTime": ended}
    model = {"url": f"s3://other/{name}/", "path": "p/", "digest": digest, "kind": kind}
    status = {"conditions": [end], "model": model | {"tokenizerDigest": tokenizer}}
    spec = {"output": {"store": {"name": "other", "path": f"{name}/"}}} | spec
    owner = make_owner(Kind.TRAINING_JOB, name, spec=spec, status=status, labels=labels or {})
    return owner if complete else owner_from({**owner.raw, "status": {}})


def plan(
    spec: Manifest,
    *trainings: Owner,
    data: Owner | None = None,
    others: tuple[Owner, ...] = (),
    jobs: tuple[JobView, ...] = (),
    status: Manifest | None = None,
) -> Plan:
    owner = make_owner(Kind.TRAINING_JOB, spec=spec, status=status)
    world = TrainingWorld(
        owner, (data or dataset(), *others), STORES, jobs, NOW, trainings=trainings
    )
    return plan_training(world, DEFAULTS)


def task_of(planned: Plan) -> TrainingTask:
    (job,) = planned.applies
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (task,) = [e["value"] for e in container["env"] if e["name"] == "LLMCLOUD_TASK"]
    return TrainingTask.model_validate_json(task)


def recipe_of(planned: Plan) -> str:
    recipe: str = planned.applies[0]["metadata"]["annotations"]["llmcloud.dev/recipe"]
    return recipe


def test_the_model_of_a_job_is_pinned_with_its_digest_and_its_store() -> None:
    planned = plan(TUNED, trained())
    stored = task_of(planned).model.stored
    assert stored is not None
    assert (stored.store.name, stored.path, stored.digest) == ("other", "base/", MODEL_DIGEST)
    pins = json.loads(planned.applies[0]["metadata"]["annotations"][ANNOTATION_INPUTS])
    assert planned.status is not None
    assert planned.status["inputs"] == pins | {"image": "registry/runtime:1"}
    assert pins["model"]["trainingJob"] == "base"
    volumes = planned.applies[0]["spec"]["template"]["spec"]["volumes"]
    assert len({volume["name"] for volume in volumes}) == len(volumes)


@pytest.mark.parametrize("where", ["status", "job"])
def test_a_newer_model_changes_nothing_once_an_attempt_began(where: str) -> None:
    first = plan(TUNED, trained())
    assert first.status is not None
    newer = trained(digest=OTHER_DIGEST)
    if where == "status":
        again = plan(TUNED, newer, status=first.status)
        stored = task_of(again).model.stored
        assert stored is not None
        assert stored.digest == MODEL_DIGEST
        assert recipe_of(again) == recipe_of(first)
    else:
        job = make_job(1, recipe_of(first), phase="Running")
        pins = first.status["inputs"]
        again = plan(TUNED, newer, jobs=(JobView(**{**job.__dict__, "inputs": pins}),))
        assert again.status is not None
        assert again.status["inputs"]["model"]["digest"] == MODEL_DIGEST


def test_the_model_decides_the_recipe() -> None:
    assert recipe_of(plan(TUNED, trained())) != recipe_of(plan(TUNED, trained(digest=OTHER_DIGEST)))


def test_of_the_selected_jobs_the_newest_that_passed_is_taken() -> None:
    labels = {"app": "wiki"}
    spec = TUNED | {"model": {"trainingJob": {"selector": {"matchLabels": labels}}}}
    planned = plan(
        spec,
        trained("old", labels=labels),
        trained("new", labels=labels, ended="2026-05-02T12:00:00Z"),
        trained("running", labels=labels, complete=False),
        trained("stranger", labels={"app": "news"}, ended="2026-05-03T12:00:00Z"),
    )
    assert planned.status is not None
    assert planned.status["inputs"]["model"]["trainingJob"] == "new"


def test_a_selection_that_is_empty_is_waited_for() -> None:
    spec = TUNED | {"model": {"trainingJob": {"selector": {"matchLabels": {"app": "wiki"}}}}}
    planned = plan(spec, trained("stranger"))
    types = by_type(planned.status)
    assert (types["Stalled"]["status"], types["Ready"]["reason"]) == ("False", "ModelNotReady")


def test_a_hub_model_is_fetched_with_the_token_as_a_file() -> None:
    hub = {"name": "org/model", "tokenSecretRef": {"name": "hf", "key": "token"}}
    planned = plan({"method": "lora", "model": {"hub": hub}})
    source = task_of(planned).model.hub
    assert source is not None
    assert (source.revision, source.token_file) == ("main", "/var/run/llmcloud/hub/model/token")
    pod = planned.applies[0]["spec"]["template"]["spec"]
    (volume,) = [v for v in pod["volumes"] if v["name"] == "hub-model"]
    assert volume["secret"]["secretName"] == "hf"
    assert {"name": "HF_HUB_OFFLINE", "value": "0"} in pod["containers"][0]["env"]


def test_a_folder_of_a_store_is_taken_as_it_is() -> None:
    planned = plan(TUNED | {"model": {"store": {"name": "other", "path": "bert/"}}})
    stored = task_of(planned).model.stored
    assert stored is not None
    assert (stored.path, stored.digest) == ("bert/", None)


def test_an_evaluation_needs_no_training_data() -> None:
    spec: Manifest = {
        **TUNED,
        "method": "evaluate",
        "datasets": [],
        "hyperparameters": None,
        "evaluation": {"dataset": {"name": "test"}, "metrics": [{"name": "perplexity"}]},
    }
    task = task_of(plan(spec, trained(), others=(dataset(name="test"),)))
    assert task.datasets == []
    assert task.evaluation_dataset is not None
    assert task.evaluation_dataset.name == "test"


MISFITS = [
    pytest.param(
        {"task": "seq2seq"}, (), None, Reason.DATASET_UNSUITABLE, "of type text",
        id="a dataset for another task",
    ),
    pytest.param(
        TUNED, (trained(kind="adapter"),), None, Reason.MODEL_UNSUITABLE, "lora.merge",
        id="an adapter as the model",
    ),
    pytest.param(
        DISTILLED, (trained(task="masked-lm"),), None, Reason.MODEL_UNSUITABLE, "does masked-lm",
        id="a teacher of another task",
    ),
    pytest.param(
        DISTILLED, (trained(tokenizer=OTHER_DIGEST),), None, Reason.VOCABULARY_MISMATCH,
        "another vocabulary than the student", id="a teacher with another vocabulary",
    ),
    pytest.param(
        TUNED, (trained(tokenizer=OTHER_DIGEST),), None, Reason.VOCABULARY_MISMATCH,
        "the tokenizer of the model", id="tokens of another vocabulary",
    ),
    pytest.param(
        {"datasets": []}, (), None, Reason.SPEC_INVALID, "spec.datasets", id="nothing to learn from"
    ),
    pytest.param({"model": {}}, (), None, Reason.SPEC_INVALID, "model", id="no model"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "trainings", "data", "reason", "part"), MISFITS)
def test_what_does_not_fit_stalls_before_a_pod_starts(
    spec: Manifest, trainings: tuple[Owner, ...], data: Owner | None, reason: Reason, part: str
) -> None:
    planned = plan(spec, *trainings, data=data)
    types = by_type(planned.status)
    assert planned.applies == ()
    assert (types["Stalled"]["status"], types["Reconciling"]["status"]) == ("True", "False")
    assert types["Ready"]["reason"] == reason
    assert part in types["Ready"]["message"]


WAITING = [
    pytest.param((), Reason.TRAINING_JOB_NOT_FOUND, id="a job that is not there"),
    pytest.param((trained(complete=False),), Reason.MODEL_NOT_READY, id="a job that still trains"),
]


@pytest.mark.parametrize(("trainings", "reason"), WAITING)
def test_a_model_is_waited_for(trainings: tuple[Owner, ...], reason: Reason) -> None:
    planned = plan(TUNED, *trainings)
    types = by_type(planned.status)
    assert (types["Stalled"]["status"], types["Ready"]["reason"]) == ("False", reason)


def test_an_older_versions_vocabulary_is_left_to_the_pod() -> None:
    spec = TUNED | {"datasets": [{"name": "corpus", "version": VERSION_2}]}
    assert task_of(plan(spec, trained(tokenizer=OTHER_DIGEST))).datasets != []


def test_the_smallest_job_needs_no_other() -> None:
    assert task_of(plan(TRAINING_SPEC)).model.architecture is not None


def test_what_a_pod_found_of_a_hubs_model_is_told_and_kept_and_changes_no_recipe() -> None:
    tuned: Manifest = {"model": {"hub": {"name": "team/base"}}, "method": "finetune"}
    first = plan(tuned)
    assert first.status is not None
    found = {"url": f"hf://team/base@{'c' * 40}", "digest": MODEL_DIGEST}
    pins = json.loads(first.applies[0]["metadata"]["annotations"][ANNOTATION_INPUTS])
    job = replace(make_job(recipe=recipe_of(first), phase="Running"), inputs=pins)
    told = Progress(attempt=1, models={"model": found["url"], "modelDigest": MODEL_DIGEST})
    owner = make_owner(Kind.TRAINING_JOB, spec=tuned, status=first.status)
    running = TrainingWorld(owner, (dataset(),), STORES, (job,), NOW, job.pods, told)
    status = plan_training(running, DEFAULTS).status
    assert status is not None
    assert status["inputs"]["model"] == found
    again = plan(tuned, status=status)
    assert again.status is not None
    assert again.status["inputs"]["model"] == found
    assert recipe_of(again) == recipe_of(first)


def test_what_a_pod_tells_of_its_model_is_not_believed_if_it_is_no_digest() -> None:
    tuned: Manifest = {"model": {"hub": {"name": "team/base"}}, "method": "finetune"}
    told = Progress(attempt=1, models={"model": "x" * 9000, "modelDigest": "none"})
    owner = make_owner(Kind.TRAINING_JOB, spec=tuned)
    pins = {"model": {"url": "hf://team/base@main"}}
    assert as_loaded(pins, TrainingWorld(owner, (), (), (), NOW), told) == pins


def job_with(name: str, created: str = "2026-05-01T12:00:00Z", attempt: int = 0) -> Owner:
    status = {"attempt": attempt} if attempt else {}
    return make_owner(Kind.TRAINING_JOB, name, status=status, creationTimestamp=created)


LATER = "2026-05-01T13:00:00Z"


@pytest.mark.parametrize(
    ("others", "rival"),
    [
        pytest.param([], "", id="none"),
        pytest.param([job_with("a")], "a", id="an older one"),
        pytest.param([job_with("z", "2026-05-01T14:00:00Z")], "", id="not a younger one"),
        pytest.param([job_with("z", "2026-05-01T14:00:00Z", 1)], "z", id="unless it has begun"),
        pytest.param([job_with("a", LATER), job_with("z", LATER)], "a", id="by name at last"),
        pytest.param([trained()], "", id="not one that has ended"),
    ],
)
def test_whose_output_it_is(others: list[Owner], rival: str) -> None:
    assert rival_of(job_with("m", LATER), others) == rival


def test_the_later_of_two_jobs_with_one_output_has_no_pod() -> None:
    owner = make_owner(Kind.TRAINING_JOB)
    world = TrainingWorld(owner, (dataset(),), STORES, (), NOW, rival="first")
    planned = plan_training(world, DEFAULTS)
    assert planned.applies == ()
    conditions = by_type(planned.status)
    assert (conditions["Stalled"]["status"], conditions["Ready"]["reason"]) == (
        "True",
        Reason.OUTPUT_OCCUPIED,
    )
    assert (
        "models/a/ of ObjectStore work is the output of LLMTrainingJob first"
        in (conditions["Ready"]["message"])
    )
    begun = make_job(recipe="r", phase="Running")
    running = TrainingWorld(owner, (dataset(),), STORES, (begun,), NOW, begun.pods, rival="first")
    status = plan_training(running, DEFAULTS).status
    assert by_type(status)["Stalled"]["status"] == "False"
