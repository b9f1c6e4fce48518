"""Which trained model is served."""

from dataclasses import replace

import pytest

from llmcloud.api.model import TrainingJobModel
from llmcloud.api.names import Kind
from llmcloud.api.selector import LabelSelector
from llmcloud.plan.model import Manifest, Owner, owner_from, timestamp
from llmcloud.plan.served_model import newest_passing, pinned_model, trained_model
from tests.support.worlds import at, complete_training, make_owner

WIKI = LabelSelector(match_labels={"app": "wiki"})


def job(name: str, seconds: float = 0, *, passed: bool = True, app: str = "wiki") -> Owner:
    """A job that ended `seconds` after the first."""
    made = complete_training(name)
    raw = {**made.raw, "metadata": {**made.raw["metadata"], "labels": {"app": app}}}
    ended = timestamp(at(seconds))
    conditions = [
        {**c, "lastTransitionTime": ended, "status": str(passed)} for c in made.status["conditions"]
    ]
    return owner_from({**raw, "status": {**made.status, "conditions": conditions}})


@pytest.mark.parametrize(
    ("jobs", "newest"),
    [
        pytest.param([], None, id="none"),
        pytest.param([job("a", 9), job("b", 10), job("c", 1)], "b", id="the one that ended last"),
        pytest.param([job("a", 9), job("b", 10, passed=False)], "a", id="not one that failed"),
        pytest.param([job("a", 9), job("b", 10, app="x")], "a", id="not one of other labels"),
        pytest.param([job("b"), job("a")], "b", id="of two of one second, the last by name"),
        pytest.param([make_owner(Kind.TRAINING_JOB, "new")], None, id="not one that has no model"),
        pytest.param([replace(job("a"), spec={})], None, id="not one that is invalid"),
    ],
)
def test_of_the_selected_jobs(jobs: list[Owner], newest: str | None) -> None:
    found = newest_passing(jobs, WIKI)
    assert (found.name if found else None) == newest


def test_a_model_is_pinned_with_its_place() -> None:
    model = trained_model(job("a"))
    assert model is not None
    assert (model["trainingJob"], model["store"], model["path"]) == ("a", "work", "models/a/")


@pytest.mark.parametrize(
    ("pinned", "which", "served"),
    [
        ({"trainingJob": "a", "store": "work"}, TrainingJobModel(name="a"), True),
        ({"trainingJob": "a", "store": "work"}, TrainingJobModel(name="b"), False),
        ({"trainingJob": "a", "store": "work"}, TrainingJobModel(selector=WIKI), True),
        ({"store": "work", "path": "m/"}, TrainingJobModel(selector=WIKI), False),
        ({}, TrainingJobModel(name="a"), False),
    ],
)
def test_what_was_served_stays(pinned: Manifest, which: TrainingJobModel, served: bool) -> None:
    owner = make_owner(Kind.DEPLOYMENT, status={"model": pinned})
    assert (pinned_model(owner, which) is not None) is served
