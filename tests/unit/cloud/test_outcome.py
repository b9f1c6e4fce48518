"""How exceptions become outcomes, and outcomes fit the termination message."""

import errno

import pytest

from llmcloud.api.contract import (
    TERMINATION_MESSAGE_BYTES,
    DatasetResult,
    ExitCode,
    MetricResult,
    Outcome,
    Progress,
    Retry,
    TrainingResult,
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


def trained(count: int, characters: int) -> Outcome:
    """A job's end with `count` metrics, groups and baselines, and a URL of so many characters."""
    results = [
        MetricResult(name=f"metric{n}", value=n / 7, low=n / 9, high=n / 5) for n in range(count)
    ]
    result = TrainingResult(
        model_url="s3://" + "u" * characters,
        model_digest="sha256:" + "a" * 64,
        model_path="p/",
        steps=1,
        passed=True,
        metrics=results,
        groups=results,
        baselines=results,
    )
    progress = Progress(attempt=1, step=9, total_steps=9, loss=0.1)
    return Outcome(succeeded=True, reason=Reason.SUCCEEDED, training=result, progress=progress)


@pytest.mark.parametrize(("count", "characters"), [(4, 100), (16, 100), (16, 2000), (16, 3000)])
def test_a_models_end_always_fits(count: int, characters: int) -> None:
    """Else the pod could not say that it has succeeded, nor could any attempt after it."""
    whole = trained(count, characters)
    body = encoded(whole)
    assert len(body) <= TERMINATION_MESSAGE_BYTES
    told = Outcome.model_validate_json(body)
    assert told.succeeded
    assert told.training is not None
    assert whole.training is not None
    assert told.training.model_url == whole.training.model_url
    if (count, characters) == (4, 100):
        assert told == whole
    if characters < 2000:
        assert told.training.metrics == whole.training.metrics


def test_metrics_are_the_numbers_of_the_progress() -> None:
    text = metrics_text(Progress(attempt=2, loss=0.5))
    assert text == (
        "# TYPE llmcloud_progress_attempt gauge\nllmcloud_progress_attempt 2\n"
        "# TYPE llmcloud_progress_loss gauge\nllmcloud_progress_loss 0.5\n"
    )
