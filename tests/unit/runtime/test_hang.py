"""A step that does not come is noticed, and the stacks say why."""

import threading

import pytest

from llmcloud_runtime.hang import HangWatch, limit_seconds, stacks


@pytest.mark.parametrize(
    ("steps", "limit"),
    [
        pytest.param([], 1800, id="nothing is known before the first steps"),
        pytest.param([0.1] * 4, 1800, id="nor after a few"),
        pytest.param([0.1] * 5, 120, id="quick steps may pause for a while"),
        pytest.param([30.0] * 5, 600, id="slow steps have twenty times as long"),
        pytest.param([10.0] * 9 + [5000.0], 200, id="one slow step changes little"),
    ],
)
def test_how_long_a_step_may_take(steps: list[float], limit: float) -> None:
    assert limit_seconds(steps) == limit


def test_a_step_that_does_not_come_is_told_once() -> None:
    told = threading.Event()
    waits: list[float] = []

    def hung(seconds: float) -> None:
        waits.append(seconds)
        told.set()

    with HangWatch(hung, least_seconds=0.05, look_seconds=0.01) as watch:
        for _ in range(5):
            watch.step()
        assert told.wait(60)
    assert len(waits) == 1
    assert waits[0] > 0.05


def test_what_is_waited_for_in_a_pause_is_no_hang() -> None:
    told = threading.Event()
    with HangWatch(lambda seconds: told.set(), least_seconds=0.05, look_seconds=0.01) as watch:
        with watch.paused():
            for _ in range(5):
                watch.step()
            assert not told.wait(0.5)
        assert told.wait(60)


def test_after_the_end_nothing_is_told() -> None:
    waits: list[float] = []
    with HangWatch(waits.append, least_seconds=3600, look_seconds=0.01) as watch:
        watch.step()
    assert waits == []


def test_the_stacks_name_what_a_thread_does() -> None:
    go, ready = threading.Event(), threading.Event()

    def stand_still() -> None:
        ready.set()
        go.wait()

    thread = threading.Thread(target=stand_still)
    thread.start()
    ready.wait()
    text = stacks()
    go.set()
    thread.join()
    assert "stand_still" in text
    assert "test_the_stacks_name_what_a_thread_does" in text
