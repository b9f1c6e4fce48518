"""Arguments of the Trainer that a job adds: which are refused before a pod, what they decide."""

from typing import Any

import pytest

from llmcloud.api.names import Kind
from llmcloud.api.training import Hyperparameters, LLMTrainingJobSpec
from llmcloud.plan.extra import extra_refusal
from llmcloud.plan.model import Manifest, Plan
from llmcloud.plan.training import plan_training
from llmcloud.plan.training_world import TrainingWorld
from tests.support.worlds import (
    DEFAULTS,
    NOW,
    TRAINING_SPEC,
    by_type,
    make_owner,
    ready_dataset,
    ready_store,
    said,
)
from tests.unit.plan.test_inputs import recipe_of, task_of

STORES = (("work", ready_store("work")),)
ADDED: Manifest = {"label_smoothing_factor": 0.1, "max_grad_norm": 1, "tf32": True, "optim": "sgd"}


def plan(extra: Manifest | None) -> Plan:
    hyperparameters: Manifest = {"maxSteps": 100}
    if extra is not None:
        hyperparameters["extra"] = extra
    owner = make_owner(Kind.TRAINING_JOB, spec={"hyperparameters": hyperparameters})
    return plan_training(TrainingWorld(owner, (ready_dataset(),), STORES, (), NOW), DEFAULTS)


def test_the_pod_is_told_and_the_recipe_is_another() -> None:
    assert task_of(plan(ADDED)).extra == ADDED
    assert isinstance(task_of(plan(ADDED)).extra["tf32"], bool)
    assert recipe_of(plan(ADDED)) != recipe_of(plan(None))
    assert recipe_of(plan(ADDED)) != recipe_of(plan({**ADDED, "max_grad_norm": 2}))


def test_nothing_added_is_the_recipe_of_a_job_without_the_member() -> None:
    assert recipe_of(plan({})) == recipe_of(plan(None))
    assert "extra" not in Hyperparameters(max_steps=1).wire()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("output_dir", "spec.output"),
        ("seed", "spec.hyperparameters.seed"),
        ("max_steps", "maxSteps"),
        ("per_device_train_batch_size", "globalBatchSize"),
        ("learning_rate", "learningRate"),
        ("fsdp_config", "spec.sharding"),
        ("save_total_limit", "spec.checkpoint"),
        ("report_to", "status.progress"),
        ("resume_from_checkpoint", "spec.checkpoint"),
        ("dataloader_num_workers", "spec.datasets"),
        ("ddp_timeout", "spec.nodes"),
        ("push_to_hub_token", "spec.output"),
        ("eval_steps", "spec.evaluation"),
    ],
)
def test_what_other_members_decide_is_refused_with_the_remedy(name: str, remedy: str) -> None:
    planned = plan({**ADDED, name: 1})
    types = by_type(planned.status)
    assert (planned.applies, said(planned.status)) == ((), ("False", "SpecInvalid"))
    assert types["Stalled"]["status"] == "True"
    assert f"spec.hyperparameters.extra.{name} is not yours" in types["Ready"]["message"]
    assert remedy in types["Ready"]["message"]


@pytest.mark.parametrize("value", [{"a": 1}, [1], None, "x" * 1025])
def test_only_short_plain_values_are_taken(value: Any) -> None:
    message = by_type(plan({"lr_scheduler_kwargs": value}).status)["Ready"]["message"]
    assert message.startswith("spec.hyperparameters.extra.lr_scheduler_kwargs ")


def test_a_job_that_learns_nothing_has_nothing_to_refuse() -> None:
    spec = LLMTrainingJobSpec.model_validate({**TRAINING_SPEC, "hyperparameters": None})
    assert extra_refusal(spec) is None
