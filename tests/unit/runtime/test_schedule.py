"""Steps and micro-batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud_runtime.schedule import (
    Batches,
    sequences_in_memory,
    split_batch,
    total_steps,
)


@pytest.mark.parametrize(
    ("max_steps", "epochs", "expected"),
    [(7, None, 7), (None, 1.0, 13), (None, 2.0, 25), (None, 0.01, 1), (None, None, 13)],
)
def test_steps_are_given_or_follow_from_epochs(
    max_steps: int | None, epochs: float | None, expected: int
) -> None:
    assert total_steps(max_steps, epochs, sequences=100, global_batch_size=8) == expected


@pytest.mark.parametrize(
    ("global_batch", "devices", "most", "expected"),
    [
        (64, 1, 100, Batches(64, 1)),
        (64, 1, 16, Batches(16, 4)),
        (64, 4, 7, Batches(4, 4)),
        (7, 1, 3, Batches(1, 7)),
    ],
)
def test_the_largest_divisor_that_fits_is_chosen(
    global_batch: int, devices: int, most: int, expected: Batches
) -> None:
    assert split_batch(global_batch, devices, most) == expected


@given(share=st.integers(1, 4096), devices=st.integers(1, 16), most=st.integers(1, 4096))
def test_the_global_batch_is_constant(share: int, devices: int, most: int) -> None:
    batches = split_batch(share * devices, devices, most)
    assert batches.per_device * batches.accumulation * devices == share * devices
    assert batches.per_device <= most


def test_devices_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="3 devices"):
        split_batch(8, 3, 8)


def test_a_micro_batch_has_at_least_one_sequence() -> None:
    assert sequences_in_memory(1, 2048, 32000) == 1
    assert sequences_in_memory(16 * 128 * 2048 * 3, 128, 2048) == 3
