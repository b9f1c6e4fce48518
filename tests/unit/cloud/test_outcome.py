"""How exceptions become outcomes, and outcomes fit the termination message."""

import errno

import pytest

from llmcloud.api.contract import (
    TERMINATION_MESSAGE_BYTES,
    DatasetResult,
    ExitCode,
    Outcome,
    Progress,
    Retry,
)
from llmcloud.api.names import Reason
from llmcloud.cloud.errors import BucketNotOwned, ConfigurationInvalid, Fenced, TaskError
from llmcloud.cloud.outcome import Interrupted, encoded, exit_code, failure
from llmcloud.cloud.report import metrics_text


@pytest.mark.parametrize(
    ("error", "reason", "retry", "code"),
    [
        (ConfigurationInvalid("x"), Reason.CONFIGURATION_INVALID, Retry.NEVER, 64),
        (Fenced("x"), Reason.FENCED, Retry.ENVIRONMENT, 1),
        (BucketNotOwned("x"), Reason.BUCKET_NOT_OWNED, Retry.ENVIRONMENT, 1),
        (TaskError("x", reason=Reason.LOSS_NOT_FINITE), Reason.LOSS_NOT_FINITE, Retry.USER, 1),
        (OSError(errno.ENOSPC, "full", "/scratch/x"), Reason.DISK_FULL, Retry.USER, 1),
        (OSError(errno.EIO, "broken"), Reason.CRASHED, Retry.USER, 1),
        (MemoryError(), Reason.OUT_OF_MEMORY, Retry.USER, 1),
        (Interrupted(), Reason.PREEMPTED, Retry.ENVIRONMENT, ExitCode.INTERRUPTED),
        (KeyError("secret"), Reason.CRASHED, Retry.USER, 1),
    ],
)
def test_every_failure_has_a_reason_a_retry_and_an_exit_code(
    error: BaseException, reason: Reason, retry: Retry, code: int
) -> None:
    outcome = failure(error)
    assert (outcome.reason, outcome.retry, exit_code(outcome)) == (reason, retry, code)
    assert outcome.message
    assert "secret" not in outcome.message


def test_a_long_message_is_cut_to_the_bound_of_the_contract() -> None:
    assert len(failure(ConfigurationInvalid("x" * 5000)).message) == 1024


def test_an_outcome_fits_the_termination_message() -> None:
    result = DatasetResult(
        version="v",
        tokenizer_digest="d",
        documents=1,
        validation_documents=0,
        tokens=1,
        bytes=1,
        shards=1,
        rejected={f"reason{n}": n for n in range(150)},
        reused=False,
    )
    outcome = Outcome(
        succeeded=True, reason=Reason.PREPARED, message="\u00e9" * 1024, dataset=result
    )
    body = encoded(outcome)
    assert len(body) <= TERMINATION_MESSAGE_BYTES
    assert Outcome.model_validate_json(body).dataset == result


def test_metrics_are_the_numbers_of_the_progress() -> None:
    text = metrics_text(Progress(attempt=2, loss=0.5))
    assert text == (
        "# TYPE llmcloud_progress_attempt gauge\nllmcloud_progress_attempt 2\n"
        "# TYPE llmcloud_progress_loss gauge\nllmcloud_progress_loss 0.5\n"
    )
