"""How many replicas a load needs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcloud.scaling.decide import Load, Policy, decide


def policy(low: int = 0, high: int = 8, target: int = 10) -> Policy:
    return Policy(low, high, target, scale_down_delay_seconds=300, scale_to_zero_after_seconds=900)


def load(
    in_flight: int = 0, waiting: int = 0, *, idle: float = 0, peak: int = 0, watched: float = 9999
) -> Load:
    return Load(in_flight, waiting, idle, max(peak, in_flight + waiting), watched)


@pytest.mark.parametrize(
    ("current", "carried", "bounds", "replicas"),
    [
        pytest.param(0, load(waiting=1), policy(), 1, id="one request that waits starts one"),
        pytest.param(1, load(in_flight=10), policy(), 1, id="a full replica is enough"),
        pytest.param(1, load(in_flight=10, waiting=1), policy(), 2, id="one more request is not"),
        pytest.param(1, load(waiting=999), policy(), 8, id="never above the most"),
        pytest.param(3, None, policy(), 3, id="without samples the number is held"),
        pytest.param(9, None, policy(), 8, id="but within the bounds"),
        pytest.param(0, None, policy(low=2), 2, id="at least the fewest"),
        pytest.param(1, load(idle=899), policy(), 1, id="silence that is too short keeps one"),
        pytest.param(1, load(idle=900), policy(), 0, id="silence that lasts keeps none"),
        pytest.param(1, load(idle=9999), policy(low=1), 1, id="unless one is to be kept"),
        pytest.param(8, load(idle=9999, peak=75), policy(), 0, id="silence drains all at once"),
        pytest.param(
            4, load(in_flight=5, peak=35), policy(), 4, id="a lull drains nothing below the peak"
        ),
        pytest.param(4, load(in_flight=5, peak=15), policy(), 2, id="a lower peak drains to it"),
        pytest.param(
            4, load(in_flight=5, peak=15, watched=299), policy(), 4,
            id="a window not watched whole drains nothing",
        ),
        pytest.param(2, load(), policy(), 1, id="no load drains to one, not to none"),
        pytest.param(0, load(), policy(), 0, id="no load at zero stays at zero"),
        pytest.param(5, load(), policy(low=3), 3, id="never below the fewest"),
    ],
)  # fmt: skip
def test_replicas(current: int, carried: Load | None, bounds: Policy, replicas: int) -> None:
    assert decide(current, carried, bounds).replicas == replicas


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    current=st.integers(0, 20),
    carried=st.none()
    | st.builds(
        load,
        st.integers(0, 500),
        st.integers(0, 500),
        idle=st.floats(0, 2000),
        peak=st.integers(0, 1000),
        watched=st.floats(0, 2000),
    ),
    low=st.integers(0, 5),
    high=st.integers(5, 10),
)
def test_a_decision_is_within_bounds_and_stands(
    current: int, carried: Load | None, low: int, high: int
) -> None:
    bounds = policy(low, high)
    decided = decide(current, carried, bounds)
    assert low <= decided.replicas <= high
    assert decide(decided.replicas, carried, bounds).replicas == decided.replicas
