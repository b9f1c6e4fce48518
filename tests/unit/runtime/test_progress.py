"""Where an attempt's seconds went."""

from llmcloud_runtime.progress import Clock


def clock(*, trained: float, stalled: float = 0.0) -> Clock:
    """One that trained so long since its first step."""
    one = Clock()
    one.begin()
    one.trained_seconds, one.stalled_seconds = trained, stalled
    return one


def test_steps_are_productive_once_they_are_durable() -> None:
    one = clock(trained=100.4, stalled=2.2)
    one.saving(7)
    one.trained_seconds += 50
    assert one.spent.productive_seconds == 0
    one.durable(7)
    assert (one.spent.productive_seconds, one.spent.checkpoint_seconds) == (100, 2)
    one.finish()
    assert one.spent.productive_seconds == 150


def test_what_earlier_attempts_made_durable_is_productive_too() -> None:
    one = Clock()
    one.go_on(500)
    assert one.spent.productive_seconds == 500
    one.begin()
    one.trained_seconds += 40
    one.saving(9)
    assert one.productive_seconds(9) == 540
    one.durable(9)
    assert one.spent.productive_seconds == 540


def test_time_passes_once_as_training_or_as_a_pause() -> None:
    one = Clock()
    one.begin()
    one.step()
    one.saving(1)
    one.resumed()
    one.step()
    assert one.first_step is not None
    whole = one.first_step + one.trained_seconds + one.stalled_seconds
    assert abs(whole - one._mark) < 1e-6


def test_before_the_first_step_all_is_startup() -> None:
    one = Clock()
    one.began -= 30
    assert (one.spent.startup_seconds, one.spent.elapsed_seconds) == (30, 30)
