"""Which numbered attempt does an object's work: run, wait, retry, or leave it.

A Job is never changed. Another recipe or a retry is a new attempt, with the next number; what
must survive a crash of the operator (retries, failures) is written on the Job itself.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from llmcloud.api.contract import Outcome, Retry
from llmcloud.api.names import Reason
from llmcloud.plan.avoidance import avoided_after
from llmcloud.plan.children import JobView
from llmcloud.plan.failures import Problem, cause, obstacle, outcome_of

RETRY_SECONDS = 10.0
RETRY_MOST_SECONDS = 300.0
STEADY_SECONDS = 600.0
"""An attempt that ran for so long has not failed at once: the delays begin anew, as the kubelet's
do."""
LOST_MOST = 3
"""So many attempts in a row may lose a peer before they make a step; more are a wrong
configuration of the network, which is the user's."""


class State(Enum):
    """Where the current attempt is."""

    START = auto()
    """The attempt's Job is to be created now."""
    WAITING = auto()
    """The Job exists; no pod runs yet."""
    RUNNING = auto()
    """A pod has started, and the Job has not said yet how it ended."""
    SUCCEEDED = auto()
    RETRY = auto()
    """It failed; the next attempt follows after `wait_seconds`."""
    FAILED = auto()
    """It failed for good: the same input would fail again."""


@dataclass(frozen=True)
class Attempt:
    """The decision. `number` is the attempt that `state` speaks of.

    `problem` is of that attempt: one that starts has none, whatever went before.
    """

    state: State
    number: int
    retries: int = 0
    failures: int = 0
    lost: int = 0
    """Attempts in a row before it that lost a peer before they made a step."""
    job: JobView | None = None
    outcome: Outcome | None = None
    problem: Problem | None = None
    wait_seconds: float | None = None
    nodes: int = 1
    place: int = 0
    """Index of its entry in spec.placement; a new attempt after a failure begins with the first."""
    avoided: tuple[str, ...] = ()
    """Nodes that its pods are kept from."""
    obsolete: tuple[JobView, ...] = ()


def retry_delay_seconds(retries: int) -> float:
    """Exponential, capped: 10, 20, 40, ... 300 s."""
    return min(RETRY_SECONDS * 2.0 ** min(retries, 10), RETRY_MOST_SECONDS)


def decide_attempt(
    jobs: tuple[JobView, ...],
    recipe: str,
    now: datetime,
    *,
    recorded: int,
    recorded_failures: int = 0,
    backoff_limit: int | None = None,
    image: str | None = None,
    durable: datetime | None = None,
) -> Attempt:
    """The attempt that should exist for `recipe`.

    A Job whose pod cannot start is given up for a new one if that would run another `image`.

    `recorded` is the highest number that the status has seen, so that a number is never used
    twice even if its Job was deleted. `backoff_limit` None retries for ever.
    `durable`: when the last checkpoint became so.
    """
    live = sorted((job for job in jobs if not job.deleting), key=lambda job: job.attempt)
    highest = max([recorded, *(job.attempt for job in jobs)])
    latest = live[-1] if live else None
    if latest is None or latest.recipe != recipe:
        return Attempt(State.START, highest + 1, failures=recorded_failures, obsolete=tuple(live))
    obsolete = tuple(live[:-1])
    failures = max(latest.failures, recorded_failures)
    if latest.active:
        started = bool(latest.pods) and all(pod.phase != "Pending" for pod in latest.pods)
        problem = None if started else obstacle(latest.pods, latest.warnings)
        if problem is not None and image is not None and latest.image != image:
            return Attempt(
                State.START, highest + 1, latest.retries, failures, latest.lost,
                avoided=latest.avoided, obsolete=tuple(live),
            )  # fmt: skip
        return Attempt(
            State.RUNNING if started else State.WAITING,
            latest.attempt,
            latest.retries,
            failures,
            latest.lost,
            latest,
            problem=problem,
            place=latest.place,
            avoided=latest.avoided,
            obsolete=obsolete,
        )
    outcome = outcome_of(latest)
    if latest.succeeded and outcome is not None and outcome.succeeded:
        return Attempt(
            State.SUCCEEDED, latest.attempt, latest.retries, failures, latest.lost, latest, outcome,
            obsolete=obsolete,
        )  # fmt: skip
    return _after_failure(latest, obsolete, now, highest, recorded_failures, backoff_limit, durable)


def _after_failure(
    latest: JobView,
    obsolete: tuple[JobView, ...],
    now: datetime,
    highest: int,
    recorded_failures: int,
    backoff_limit: int | None,
    durable: datetime | None,
) -> Attempt:
    problem = cause(latest)
    saved = durable is not None and durable > latest.created
    lost = 0
    if problem.reason is Reason.PEER_LOST and not saved and not _made_a_step(latest):
        lost = latest.lost + _all_began(latest)
    counts = problem.retry is Retry.USER or lost > LOST_MOST
    failures = max(latest.failures + counts, recorded_failures)
    exhausted = backoff_limit is not None and failures > backoff_limit
    if problem.retry is Retry.NEVER or exhausted:
        return Attempt(
            State.FAILED, latest.attempt, latest.retries, failures, latest.lost, latest,
            problem=problem, obsolete=obsolete,
        )  # fmt: skip
    assert latest.finished is not None
    steady = saved or _ran_seconds(latest) >= STEADY_SECONDS
    retries = 0 if steady else latest.retries
    due = latest.finished + timedelta(seconds=retry_delay_seconds(retries))
    if now < due:
        return Attempt(
            State.RETRY, latest.attempt, retries, failures, latest.lost, latest, problem=problem,
            wait_seconds=(due - now).total_seconds(), obsolete=obsolete,
        )  # fmt: skip
    return Attempt(
        State.START,
        highest + 1,
        retries + 1,
        failures,
        lost,
        avoided=avoided_after(latest, steady=steady),
        obsolete=(*obsolete, latest),
    )


def _made_a_step(job: JobView) -> bool:
    """Whether a pod that has ended told of a step; its speed is known from the first one on."""
    outcomes = [pod.termination.outcome for pod in job.pods if pod.termination is not None]
    told = [outcome.progress for outcome in outcomes if outcome is not None and outcome.progress]
    return any(progress.tokens_per_second is not None for progress in told)


def _all_began(job: JobView) -> bool:
    """Whether every pod started: that one never got a node says nothing of the network."""
    return len(job.pods) == job.nodes and all(pod.began is not None for pod in job.pods)


def _ran_seconds(job: JobView) -> float:
    """From the last pod's start to the end of the Job; 0 if a pod never started."""
    began = [pod.began for pod in job.pods]
    starts = [moment for moment in began if moment is not None]
    if job.finished is None or not starts or len(starts) < len(began):
        return 0.0
    return (job.finished - max(starts)).total_seconds()


def moved_attempt(
    attempt: Attempt, jobs: tuple[JobView, ...], recorded: int, place: int, nodes: int
) -> Attempt:
    """Another attempt of the same work, elsewhere or smaller; that of `attempt` has not begun."""
    assert attempt.job is not None
    return Attempt(
        State.START,
        max([recorded, *(job.attempt for job in jobs)]) + 1,
        attempt.retries,
        attempt.failures,
        attempt.lost,
        nodes=nodes,
        place=place,
        avoided=attempt.avoided,
        obsolete=(*attempt.obsolete, attempt.job),
    )


def next_attempt(attempt: Attempt, jobs: tuple[JobView, ...], recorded: int) -> Attempt:
    """Another attempt of work that has succeeded; no number is used twice."""
    highest = max([recorded, *(job.attempt for job in jobs)])
    done = (attempt.job,) if attempt.job else ()
    return Attempt(State.START, highest + 1, obsolete=(*attempt.obsolete, *done))
