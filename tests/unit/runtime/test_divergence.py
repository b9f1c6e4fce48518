"""A loss that is no number ends training with its step, and with what is kept."""

import math

import pytest

from llmcloud.api.contract import CheckpointStatus, Retry
from llmcloud.api.names import Reason
from llmcloud_runtime.divergence import divergence, has_diverged

KEPT = CheckpointStatus(step=30, url="s3://c/30/", time="2026-05-01T12:00:00Z", bytes=9)


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [
        pytest.param(math.nan, 1.0, "loss is nan", id="no number"),
        pytest.param(math.inf, math.nan, "loss is inf", id="too large a number"),
        pytest.param(3.5, math.nan, "gradient's norm is nan", id="a gradient that is none"),
        pytest.param(3.5, math.inf, "gradient's norm is inf", id="too large a gradient"),
    ],
)
def test_what_ends_training(loss: float, norm: float, said: str) -> None:
    assert has_diverged(loss, norm)
    error = divergence(37, 100, loss, norm, KEPT)
    message = str(error)
    assert said in message
    assert "step 37 of 100" in message
    assert "checkpoint of step 30 is kept" in message
    assert "spec.hyperparameters.learningRate" in message
    assert (error.reason, error.retry) == (Reason.LOSS_NOT_FINITE, Retry.NEVER)


def test_that_nothing_was_saved_is_said() -> None:
    assert "There is no checkpoint" in str(divergence(1, 100, math.nan, 1.0, None))


def test_large_numbers_are_numbers() -> None:
    assert not has_diverged(1e30, 1e30)
