"""How well the arithmetic of training uses its devices: model FLOPs utilization (MFU).

As A. Chowdhery et al., "PaLM", 2022, appendix B: what the model's weights and its attention need,
by what the devices could do in the precision of the training. What is computed again does not
count.
"""

from dataclasses import dataclass

TERA = 1e12


@dataclass(frozen=True)
class Shape:
    """What of a model decides its arithmetic. `weights`: those that multiply, so no embedding that
    is only looked up. `trained`: those of them that get a gradient."""

    weights: int
    trained: int
    layers: int
    width: int


@dataclass(frozen=True)
class Work:
    """The arithmetic of one optimizer step, and the peak of all devices in operations a second."""

    step_flops: float
    peak_flops: float

    def utilization(self, steps_per_second: float) -> float:
        return round(steps_per_second * self.step_flops / self.peak_flops, 4)


def flops_per_token(shape: Shape, length_tokens: float) -> float:
    """Of a forward and a backward pass, in sequences of so many tokens.

    Two for each weight forward, two backward to what came before it, two for its own gradient; and
    12 x layers x width x length for the products of attention.
    """
    attention = 12 * shape.layers * shape.width * length_tokens
    return 4 * shape.weights + 2 * shape.trained + attention


def work_of(
    shape: Shape | None,
    length_tokens: float,
    step_tokens: float,
    peak_teraflops: float | None,
    devices: int,
) -> Work | None:
    """None where the model's arithmetic or the peak is not known."""
    if shape is None or peak_teraflops is None:
        return None
    step_flops = step_tokens * flops_per_token(shape, length_tokens)
    return Work(step_flops, devices * peak_teraflops * TERA)
