"""What a device can hold."""

from llmcloud_runtime.resources import too_large

H100_BYTES = 80 * 10**9


def test_a_device_holds_the_state_of_as_many_parameters_as_fit_half_of_it() -> None:
    assert not too_large(2_500_000_000, H100_BYTES)
    assert too_large(2_500_000_001, H100_BYTES)


def test_where_memory_is_not_known_nothing_is_too_large() -> None:
    assert not too_large(10**12, None)
