"""When training has gone astray: a loss or a gradient that is no number any more.

Asked after every step and before it is saved, so a checkpoint never holds what came of it.
"""

import math

from llmcloud.api.contract import CheckpointStatus
from llmcloud_runtime.errors import LossNotFinite


def has_diverged(loss: float, gradient_norm: float) -> bool:
    """Whether a step gave no numbers to go on with."""
    return not (math.isfinite(loss) and math.isfinite(gradient_norm))


def divergence(
    step: int, steps: int, loss: float, gradient_norm: float, kept: CheckpointStatus | None
) -> LossNotFinite:
    """The error that names the step, and the checkpoint that is `kept`."""
    what = f"gradient's norm is {gradient_norm}" if math.isfinite(loss) else f"loss is {loss}"
    saved = f"The checkpoint of step {kept.step} is kept." if kept else "There is no checkpoint."
    return LossNotFinite(
        f"The {what} at step {step} of {steps}; lower spec.hyperparameters.learningRate or raise "
        f"warmupSteps. {saved}"
    )
