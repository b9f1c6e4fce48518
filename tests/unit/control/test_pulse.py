"""When a process says that it should be restarted."""

from llmcloud.control.pulse import SILENCE_SECONDS, Pulse
from llmcloud.control.queue import WorkQueue


class Clock:
    """Seconds that the test lets pass, with a Lease that is heard meanwhile."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pulse = Pulse(lambda: self.seconds)

    def after(self, seconds: float) -> str:
        self.seconds += seconds
        self.pulse.beat_lease()
        return self.pulse.complaint(WorkQueue())


def test_a_young_process_has_nothing_to_complain_of() -> None:
    assert Pulse().complaint(WorkQueue()) == ""


def test_a_lease_that_is_not_heard_is_a_deaf_watch() -> None:
    clock = Clock()
    clock.seconds = SILENCE_SECONDS
    assert clock.pulse.complaint(WorkQueue()) == ""
    clock.seconds += 1
    assert "Lease" in clock.pulse.complaint(WorkQueue())


def test_a_kind_that_changes_unheard_has_a_deaf_watch_whatever_others_hear() -> None:
    clock = Clock()
    clock.pulse.hear("Job", "99")
    for version in ("100", "110", "105"):
        clock.pulse.list("Job", version)
        clock.pulse.list("Pod", version)
    clock.pulse.hear("Pod", "110")
    assert clock.after(SILENCE_SECONDS) == ""
    clock.pulse.list("Job", "120")  # the next resync does not begin anew
    assert clock.after(1).startswith("a Job changed 61 s ago")
    clock.pulse.hear("Job", "120")
    assert clock.after(1) == ""


def test_what_was_heard_before_it_is_listed_is_fine() -> None:
    clock = Clock()
    clock.pulse.hear("Job", "100")
    clock.pulse.hear("Job", "90")
    clock.pulse.list("Job", "100")
    assert clock.after(10 * SILENCE_SECONDS) == ""


def test_versions_that_are_no_numbers_are_not_judged() -> None:
    clock = Clock()
    clock.pulse.list("Job", "opaque")
    assert clock.after(10 * SILENCE_SECONDS) == ""
