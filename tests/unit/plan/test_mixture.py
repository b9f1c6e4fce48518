"""Several datasets of one job: pinned each, mixed by weight, refused where they do not fit."""

from typing import Any

import pytest

from llmcloud.api.names import Kind, Reason
from llmcloud.plan.model import Manifest, Owner, Plan
from llmcloud.plan.training import plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    VERSION_1,
    VERSION_2,
    by_type,
    condition,
    make_owner,
    ready_store,
    said,
)
from tests.unit.plan.test_inputs import OTHER_DIGEST, TOKENIZER, recipe_of, task_of

STORES = (("work", ready_store("work")), ("other", ready_store("other")))
BOTH: list[Manifest] = [{"name": "wiki", "weight": 2}, {"name": "code"}]


def dataset(name: str, version: str = VERSION_1, tokenizer: str = TOKENIZER, **spec: Any) -> Owner:
    status = {
        "version": version,
        "tokenizer": {"digest": tokenizer},
        "conditions": [condition("Ready", "True", "Prepared")],
    }
    return make_owner(Kind.DATASET, name, spec=spec, status=status)


CODE = dataset("code", VERSION_2, output={"store": {"name": "other", "path": "code/"}})


def plan(
    datasets: list[Manifest], *found: Owner, status: Manifest | None = None, **spec: Any
) -> Plan:
    owner = make_owner(Kind.TRAINING_JOB, spec={"datasets": datasets, **spec}, status=status)
    return plan_training(TrainingWorld(owner, found, STORES, (), NOW), DEFAULTS)


def test_all_are_pinned_and_told_to_the_pod_with_their_weights_and_stores() -> None:
    planned = plan(BOTH, dataset("wiki"), CODE)
    assert planned.status is not None
    assert planned.status["inputs"]["datasets"] == [
        {"name": "code", "version": VERSION_2},
        {"name": "wiki", "version": VERSION_1},
    ]
    told = [(one.name, one.weight, one.store.name) for one in task_of(planned).datasets]
    assert told == [("code", 1.0, "other"), ("wiki", 2.0, "work")]


def test_each_stays_at_the_version_with_which_it_began() -> None:
    first = plan(BOTH, dataset("wiki"), CODE)
    newer = plan(BOTH, dataset("wiki", VERSION_2), CODE, status=first.status)
    assert [one.version for one in task_of(newer).datasets] == [VERSION_2, VERSION_1]
    assert recipe_of(newer) == recipe_of(first)


def test_the_order_in_which_they_are_named_decides_nothing() -> None:
    one, other = (plan(named, dataset("wiki"), CODE) for named in (BOTH, BOTH[::-1]))
    assert recipe_of(one) == recipe_of(other)
    assert task_of(one).datasets == task_of(other).datasets


def test_a_weight_decides_the_recipe_unless_it_is_one() -> None:
    alone, said_one, heavy = (
        recipe_of(plan([{"name": "wiki", **weight}], dataset("wiki")))
        for weight in ({}, {"weight": 1}, {"weight": 2})
    )
    assert alone == said_one
    assert alone != heavy
    mixed = {recipe_of(plan([{"name": "wiki", "weight": w}, BOTH[1]], dataset("wiki"), CODE))
             for w in (1, 2)}  # fmt: skip
    assert len(mixed) == 2
    assert alone not in mixed


@pytest.mark.parametrize(
    ("other", "reason", "words"),
    [
        (dataset("code", type="chat"), Reason.DATASET_UNSUITABLE, "spec.type"),
        (dataset("code", sequenceLength=32), Reason.DATASET_UNSUITABLE, "spec.sequenceLength"),
        (dataset("code", tokenizer=OTHER_DIGEST), Reason.VOCABULARY_MISMATCH, "tokenizer.model"),
    ],
    ids=["another type", "another length", "another tokenizer"],
)
def test_what_does_not_go_together_is_refused_before_a_pod(
    other: Owner, reason: Reason, words: str
) -> None:
    planned = plan(BOTH, dataset("wiki"), other)
    types = by_type(planned.status)
    assert (planned.applies, said(planned.status)) == ((), ("False", reason))
    assert types["Stalled"]["status"] == "True"
    assert "LLMDatasets code and wiki" in types["Ready"]["message"]
    assert words in types["Ready"]["message"]


def test_other_labels_are_refused() -> None:
    labeled = [
        dataset(name, type="labeled", labels=labels)
        for name, labels in (("wiki", ["a", "b"]), ("code", ["b", "a"]))
    ]
    planned = plan(BOTH, *labeled, task="sequence-classification", model={"hub": {"name": "m"}},
                   method="finetune")  # fmt: skip
    assert said(planned.status) == ("False", Reason.DATASET_UNSUITABLE)


def test_a_missing_one_is_named() -> None:
    planned = plan(BOTH, dataset("wiki"))
    assert said(planned.status) == ("False", Reason.DATASET_NOT_FOUND)
    assert "LLMDataset code" in by_type(planned.status)["Ready"]["message"]
