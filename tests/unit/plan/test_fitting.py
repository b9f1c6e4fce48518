"""Models that no pod could train are refused before one starts."""

from typing import Any

import pytest

from llmcloud.api.names import Kind, Reason
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.fitting import fewest_weights, memory_refusal, quantity
from llmcloud.plan.model import Manifest, Plan
from llmcloud.plan.training import plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    TRAINING_SPEC,
    VERSION_1,
    by_type,
    condition,
    make_owner,
    ready_store,
)


def shape(**sizes: Any) -> Manifest:
    return {"architecture": {**TRAINING_SPEC["model"]["architecture"], **sizes}}


def spec_of(**members: Any) -> LLMTrainingJobSpec:
    return LLMTrainingJobSpec.model_validate({**TRAINING_SPEC, **members})


def plan(sequence_length: int = 128, type_: str = "text", **spec: Any) -> Plan:
    status = {"version": VERSION_1, "conditions": [condition("Ready", "True", "Prepared")]}
    members = {"type": type_, "sequenceLength": sequence_length}
    dataset = make_owner(Kind.DATASET, "corpus", spec=members, status=status)
    owner = make_owner(Kind.TRAINING_JOB, spec=spec)
    return plan_training(
        TrainingWorld(owner, (dataset,), (("work", ready_store("work")),), (), NOW), DEFAULTS
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", 0.5), ("2", 2.0), ("1.5k", 1500.0), ("3M", 3e6), ("2Gi", 2.0**31), ("1Pi", 2.0**50)],
)
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        pytest.param(
            {"family": "gpt2", "hiddenSize": 768, "layers": 12, "heads": 12}, 124_439_808,
            id="GPT-2 of 124 million",
        ),
        pytest.param(
            {"hiddenSize": 4096, "layers": 32, "heads": 32, "keyValueHeads": 8}, 8_030_261_248,
            id="Llama 3 of 8 billion",
        ),
        pytest.param(
            {"family": "t5", "hiddenSize": 512, "layers": 6, "heads": 8}, 60_506_624,
            id="T5 of 60 million",
        ),
    ],
)  # fmt: skip
def test_the_bound_is_below_what_such_models_have(sizes: Manifest, most: int) -> None:
    task = "seq2seq" if sizes.get("family") == "t5" else "causal-lm"
    architecture = spec_of(model=shape(**sizes), task=task).model.architecture
    assert architecture is not None
    assert 0.6 * most < fewest_weights(architecture) < most


LARGE = shape(hiddenSize=4096, layers=32, heads=32)


def test_a_model_that_no_memory_holds_is_refused_before_a_pod_starts() -> None:
    planned = plan(model=LARGE)
    types = by_type(planned.status)
    assert (planned.applies, types["Stalled"]["status"]) == ((), "True")
    assert types["Ready"]["reason"] == Reason.SPEC_INVALID
    assert "needs at least 96.0 GiB" in types["Ready"]["message"]
    assert "spec.resources.memory is 2Gi" in types["Ready"]["message"]


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"resources": {"memory": "100Gi"}}, id="enough memory"),
        pytest.param(
            {"resources": {"memory": "50Gi"}, "nodes": {"min": 1, "max": 2}}, id="on all nodes",
        ),
        pytest.param({"resources": {"accelerator": "gpu"}}, id="accelerators have their own"),
        pytest.param({"model": {"hub": {"name": "gpt2"}}}, id="a model that exists"),
    ],
)  # fmt: skip
def test_what_may_fit_is_tried(members: Manifest) -> None:
    assert memory_refusal(spec_of(**({"model": LARGE} | members))) is None


def test_sequences_longer_than_the_model_are_refused_before_a_pod_starts() -> None:
    planned = plan(sequence_length=129)
    types = by_type(planned.status)
    assert (planned.applies, types["Stalled"]["status"]) == ((), "True")
    assert types["Ready"]["reason"] == Reason.DATASET_UNSUITABLE
    assert "contextLength to at least 129" in types["Ready"]["message"]


def test_examples_are_cut_and_sequences_that_fit_are_taken() -> None:
    assert plan(sequence_length=128).applies
    assert plan(
        sequence_length=4096,
        type_="labeled",
        task="sequence-classification",
    ).applies
