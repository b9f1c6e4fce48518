"""What a Job's state means: rules as data, read from the top, the first that matches decides.

Each rule looks at a Job and one of its pods and gives the reason, who is to blame, and a
sentence with the remedy. The cluster's own words are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass

from llmcloud.api.contract import CONSEQUENCES, ExitCode, Outcome, Retry
from llmcloud.api.names import Reason
from llmcloud.plan.children import JobView, PodView, Waiting

_PULL = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
     "RegistryUnavailable", "SignatureValidationFailed"}
)  # fmt: skip
LAST_WORDS = 200
"""Characters of the log's last line in a message."""
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class Problem:
    """What is wrong, whose fault it is, and what to do."""

    reason: Reason
    message: str
    retry: Retry


@dataclass(frozen=True)
class Rule:
    """`matches` sees one pod; `sentence` is formatted with `said`, the cluster's own words."""

    matches: Callable[[PodView], str | None]
    reason: Reason
    retry: Retry
    sentence: str


def _waiting_in(words: frozenset[str]) -> Callable[[PodView], str | None]:
    def said(pod: PodView) -> str | None:
        waiting: Waiting | None = pod.waiting
        if waiting is None or waiting.reason not in words:
            return None
        return waiting.message or waiting.reason

    return said


def _evicted_for_disk(pod: PodView) -> str | None:
    full = pod.reason == "Evicted" and any(
        word in pod.message for word in ("ephemeral", "EmptyDir", "emptyDir")
    )
    return pod.message if full else None


def _last_words(log: str) -> str:
    """The last line of the log's end, which the kubelet keeps of a pod without an outcome."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return "".join(c for c in lines[-1] if c.isprintable())[:LAST_WORDS] if lines else ""


def _terminated(exit_code: int | None, reason: str | None) -> Callable[[PodView], str | None]:
    def said(pod: PodView) -> str | None:
        end = pod.termination
        if end is None or end.exit_code == 0:
            return None
        if exit_code is not None and end.exit_code != exit_code:
            return None
        if reason is not None and end.reason != reason:
            return None
        said = f"exit code {end.exit_code}" + (f", {end.reason}" if end.reason else "")
        last = _last_words(end.message) if end.outcome is None else ""
        return f"{said}; its log ends with: {last}" if last else said

    return said


def _mount_warning(pod: PodView) -> str | None:
    return next((w for w in pod.warnings if "MountVolume" in w or "attach" in w), None)


BEFORE_START = (
    Rule(
        _waiting_in(_PULL),
        Reason.IMAGE_PULL_FAILED,
        Retry.ENVIRONMENT,
        "The image of pod {pod} cannot be pulled: {said}. Check the image's name and the pull "
        "secrets.",
    ),
    Rule(
        _waiting_in(_CONFIG),
        Reason.CONTAINER_CONFIG,
        Retry.ENVIRONMENT,
        "The container of pod {pod} cannot be made: {said}.",
    ),
    Rule(
        lambda pod: pod.unschedulable or None,
        Reason.UNSCHEDULABLE,
        Retry.ENVIRONMENT,
        "Pod {pod} cannot be scheduled: {said} Lower spec.resources or add nodes.",
    ),
    Rule(
        _mount_warning,
        Reason.VOLUME_NOT_MOUNTED,
        Retry.ENVIRONMENT,
        "A volume of pod {pod} cannot be mounted: {said}. Create what is missing.",
    ),
    Rule(
        lambda pod: pod.warnings[-1] if pod.warnings else None,
        Reason.POD_NOT_STARTED,
        Retry.ENVIRONMENT,
        "Pod {pod} does not start: {said}. Its node tries again.",
    ),
)

AFTER_END = (
    Rule(
        _terminated(None, "OOMKilled"),
        Reason.OUT_OF_MEMORY,
        Retry.USER,
        "Pod {pod} needed more memory than it may use and was killed ({said}). Raise "
        "spec.resources.memory or lower the batch size.",
    ),
    Rule(
        _evicted_for_disk,
        Reason.DISK_FULL,
        Retry.USER,
        "Pod {pod} was evicted because its disk is full: {said} Raise "
        "spec.resources.ephemeralStorage.",
    ),
    Rule(
        lambda pod: pod.disrupted or (pod.message if pod.reason == "Evicted" else None) or None,
        Reason.PREEMPTED,
        Retry.ENVIRONMENT,
        "Pod {pod} was taken away: {said}. A new attempt follows.",
    ),
    Rule(
        _terminated(ExitCode.INTERRUPTED, None),
        Reason.PREEMPTED,
        Retry.ENVIRONMENT,
        "Pod {pod} was asked to stop ({said}). A new attempt follows.",
    ),
    Rule(
        _terminated(None, None),
        Reason.CRASHED,
        Retry.USER,
        "Pod {pod} crashed ({said}). Its logs say more: kubectl logs {pod}.",
    ),
)


def _first(rules: tuple[Rule, ...], pods: tuple[PodView, ...]) -> Problem | None:
    for rule in rules:
        for pod in pods:
            said = rule.matches(pod)
            if said is not None:
                sentence = rule.sentence.format(pod=pod.name, said=said.rstrip())
                return Problem(rule.reason, sentence, rule.retry)
    return None


def obstacle(pods: tuple[PodView, ...], warnings: tuple[str, ...] = ()) -> Problem | None:
    """What keeps pods that should run from running; None if nothing is known to."""
    if not pods and warnings:
        return Problem(
            Reason.POD_REFUSED,
            f"The cluster refuses the pod: {warnings[-1]}. Correct spec.resources or spec.pod, or "
            "raise the namespace's limits.",
            Retry.ENVIRONMENT,
        )
    return _first(BEFORE_START, pods)


def outcome_of(job: JobView) -> Outcome | None:
    """What the job's pods said at their end: the one that failed of its own first, since others
    are asked to stop because of it; of those that succeeded, the one that has a result."""
    said = [pod.termination.outcome for pod in job.pods if pod.termination is not None]
    outcomes = [outcome for outcome in said if outcome is not None]
    failed = [o for o in outcomes if not o.succeeded and o.reason not in CONSEQUENCES]
    results = [o for o in outcomes if o.training is not None or o.dataset is not None]
    succeeded = [o for o in outcomes if o.succeeded]
    return next(iter([*failed, *results, *succeeded, *outcomes]), None)


def _says_why(pod: PodView) -> bool:
    outcome = pod.termination.outcome if pod.termination else None
    return outcome is not None and not outcome.succeeded


def cause(job: JobView) -> Problem:
    """Why an ended job has no success: a pod's own outcome first, then what the cluster saw.

    A pod that was asked to stop, or lost its peers, does not know why: there the cluster's word
    comes first, also on the pods that could not say anything.
    """
    outcome = outcome_of(job)
    silent = tuple(pod for pod in job.pods if not _says_why(pod))
    found = _first(AFTER_END[:-1], job.pods) or _first(AFTER_END, silent)
    if outcome is not None and not outcome.succeeded:
        own = Problem(outcome.reason, outcome.message, outcome.retry)
        if own.reason not in CONSEQUENCES or not found or found.reason is own.reason:
            return own
    if found is not None:
        return found
    said = job.failure_message or "its pod is gone"
    return Problem(
        Reason.PREEMPTED,
        f"Job {job.name} ended without a result ({said}). A new attempt follows.",
        Retry.ENVIRONMENT,
    )


def serving_failure(pods: tuple[PodView, ...]) -> Problem | None:
    """Why replicas that started do not serve: the fetcher's outcome, or how a container ended."""
    for pod in pods:
        outcome = pod.termination.outcome if pod.termination else None
        if outcome is not None and not outcome.succeeded:
            return Problem(outcome.reason, outcome.message, outcome.retry)
    return _first(AFTER_END, pods)
