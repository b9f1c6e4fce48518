"""What stays of an attempt that crashed, in real stores."""

import logging

import pytest

from llmcloud.api.contract import Architecture, ModelInput, Retry, TrainingTask
from llmcloud.api.names import Reason
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import Fenced, TaskError
from llmcloud.cloud.outcome import failure
from llmcloud_runtime.endings import last_lines_kept

SIZES = Architecture(family="llama", hidden_size=32, layers=1, heads=2, context_length=32)


def task(store: Store) -> TrainingTask:
    return TrainingTask(
        job="j", namespace="n", owner_uid="uid", attempt=3, recipe="r", code_version="test",
        task="causal-lm", method="pretrain", model=ModelInput(architecture=SIZES),
        output=store.location, output_path="job/", learning_rate=0.1, warmup_steps=0,
        weight_decay=0.0, global_batch_size=8, precision="float32", seed=0, checkpoint_keep=1,
        metrics=[],
    )  # fmt: skip


def crash(store: Store) -> None:
    log = logging.getLogger("llmcloud_runtime.test")
    log.setLevel(logging.INFO)
    with last_lines_kept(task(store), 1):
        log.info("Resuming from step 7")
        raise KeyError("secret")


def test_a_crash_leaves_the_end_of_its_log_and_the_traceback(store: Store) -> None:
    with pytest.raises(TaskError, match=r"KeyError.*job/logs/a3/log-1\.txt") as raised:
        crash(store)
    outcome = failure(raised.value)
    assert (outcome.reason, outcome.retry) == (Reason.CRASHED, Retry.USER)
    assert "secret" not in outcome.message
    text = store.get("job/logs/a3/log-1.txt").decode()
    assert "Resuming from step 7" in text
    assert "KeyError: 'secret'" in text


@pytest.mark.parametrize("error", [Fenced("x"), MemoryError("y")])
def test_what_says_its_cause_is_left_as_it_is(store: Store, error: Exception) -> None:
    with pytest.raises(type(error)), last_lines_kept(task(store), 0):
        raise error
    assert list(store.list("job/")) == []
