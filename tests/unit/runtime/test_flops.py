"""The arithmetic of a training step, against figures that others published."""

import pytest

from llmcloud_runtime.flops import Shape, Work, flops_per_token, work_of

PALM = Shape(weights=540_350_000_000, trained=540_350_000_000, layers=118, width=48 * 256)


def test_palms_utilization_is_that_of_its_paper() -> None:
    """238.3e3 tokens/s on 6144 TPU v4 of 275 teraflops each, sequences of 2048: 46.2 %."""
    work = work_of(PALM, 2048, 2048, 275, 6144)
    assert work is not None
    assert work.utilization(238_300 / 2048) == pytest.approx(0.462, abs=0.002)


def test_a_weight_that_is_not_trained_needs_no_gradient_of_its_own() -> None:
    frozen = Shape(weights=1000, trained=10, layers=0, width=0)
    assert flops_per_token(frozen, 100) == 4020


def test_attention_grows_with_the_length() -> None:
    one = Shape(weights=0, trained=0, layers=2, width=8)
    assert flops_per_token(one, 100) == 12 * 2 * 8 * 100


@pytest.mark.parametrize(("shape", "peak"), [(None, 989.0), (PALM, None)])
def test_what_is_not_known_is_not_guessed(shape: Shape | None, peak: float | None) -> None:
    assert work_of(shape, 2048, 2048, peak, 8) is None


def test_devices_that_do_all_they_can_are_used_wholly() -> None:
    assert Work(step_flops=4e12, peak_flops=2e12).utilization(0.5) == 1.0
