"""Arguments that a job hands to the Trainer: taken as they are, or refused with what was meant."""

from collections.abc import Callable
from typing import Any

import pytest

from llmcloud.api.contract import ExitCode
from llmcloud.api.names import Reason
from tests.support.ranks import Training

Job = Callable[..., Training]


def test_what_is_added_reaches_the_trainer_and_the_loss(
    job: Job, undisturbed: dict[int, float]
) -> None:
    added = {"label_smoothing_factor": 0.5, "lr_scheduler_type": "constant", "max_grad_norm": 0.5}
    training = job("extra", extra=added)
    progress = training.run(1).progress
    assert progress is not None
    assert progress.learning_rate == 0.003
    losses = training.losses()
    assert losses.keys() == undisturbed.keys()
    assert losses[min(losses)] != undisturbed[min(losses)]
    assert losses[max(losses)] > undisturbed[max(losses)]


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"max_grad_nrom": 0.5}, "did you mean max_grad_norm"),
        ({"max_grad_norm": "much"}, "extra.max_grad_norm: Input should be a valid number"),
        ({"lr_scheduler_type": "sinusoid"}, "sinusoid is not a valid SchedulerType"),
    ],
)
def test_what_the_trainer_does_not_know_is_the_users_to_correct(
    job: Job, extra: dict[str, Any], sentence: str
) -> None:
    training = job(f"extra-{next(iter(extra)).replace('_', '-')}", extra=extra)
    ranks = training.start(1)
    assert training.finish(ranks) == [ExitCode.CONFIGURATION]
    outcome = ranks[0].outcome()
    assert outcome.reason is Reason.CONFIGURATION_INVALID
    assert sentence in outcome.message
