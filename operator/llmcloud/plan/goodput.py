"""Where a training job's time went: all attempts together, from what pods told and the cluster saw.

What earlier attempts came to is written on the pods of the next one, because its Job is created
before the status is written; the status alone would count an attempt twice after a crash. Time
for which there was no pod is lost only between a failure and the attempt that follows it.
"""

from dataclasses import dataclass, fields, replace
from datetime import datetime

from llmcloud.api.base import canonical_json
from llmcloud.api.contract import Progress, Spent
from llmcloud.api.names import Condition
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.attempts import Attempt
from llmcloud.plan.children import ANNOTATION_SPENT, PodView
from llmcloud.plan.group import ROOM
from llmcloud.plan.model import Manifest, Owner, from_timestamp
from llmcloud.plan.training_world import TrainingWorld

HOUR_SECONDS = 3600
_HOURS_DIGITS = 4


@dataclass(frozen=True)
class Totals:
    """Seconds of all attempts. `accelerator`: one for each second of each accelerator."""

    productive: int = 0
    startup: int = 0
    restart: int = 0
    checkpoint: int = 0
    accelerator: int = 0

    @property
    def run(self) -> int:
        """What is told apart of the time, whatever the accelerators."""
        return self.productive + self.startup + self.restart + self.checkpoint

    def plus(self, other: "Totals") -> "Totals":
        return Totals(*(mine + theirs for mine, theirs in _pairs(self, other)))

    def at_least(self, other: "Totals") -> "Totals":
        """Of each the larger: what was told once is not taken back."""
        return Totals(*(max(mine, theirs) for mine, theirs in _pairs(self, other)))

    @property
    def annotation(self) -> dict[str, str]:
        """For the pods of the next attempt; empty before the first."""
        if self == Totals():
            return {}
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return {ANNOTATION_SPENT: canonical_json(known).decode()}

    def wire(self, *, accelerated: bool) -> Manifest:
        """As the status has it."""
        lost = {"startup": self.startup, "restart": self.restart, "checkpoint": self.checkpoint}
        members: Manifest = {"productiveSeconds": self.productive, "lostSeconds": lost}
        if accelerated:
            members["acceleratorHours"] = round(self.accelerator / HOUR_SECONDS, _HOURS_DIGITS)
        return members


def _pairs(one: Totals, other: Totals) -> list[tuple[int, int]]:
    return [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Totals)]


def _from_annotation(written: Manifest) -> Totals:
    """Anyone may write annotations on a pod: what is no such number counts as 0."""
    known = {field.name: written.get(field.name) for field in fields(Totals)}
    return Totals(**{n: v for n, v in known.items() if type(v) is int and v >= 0})


def _recorded(owner: Owner) -> Totals:
    """What the status says."""
    goodput: Manifest = owner.status.get("goodput") or {}
    lost: Manifest = goodput.get("lostSeconds") or {}
    return Totals(
        productive=goodput.get("productiveSeconds", 0),
        startup=lost.get("startup", 0),
        restart=lost.get("restart", 0),
        checkpoint=lost.get("checkpoint", 0),
        accelerator=round(goodput.get("acceleratorHours", 0) * HOUR_SECONDS),
    )


def devices_of(spec: LLMTrainingJobSpec) -> int:
    """Accelerators of each pod."""
    return (spec.resources.count or 1) if spec.resources.accelerator else 0


def _newest(world: TrainingWorld) -> tuple[PodView, ...]:
    """The pods of the newest attempt that has any, in the order of their indices; none if the
    status is of a newer one."""
    pods = [pod for pod in world.pods if pod.component != ROOM]
    newest = max((pod.attempt for pod in pods), default=0)
    if newest < world.owner.status.get("attempt", 0):
        return ()
    return tuple(sorted((p for p in pods if p.attempt == newest), key=lambda pod: pod.index))


def last_told(world: TrainingWorld, attempt: int) -> Progress | None:
    """What the attempt's first pod told: its last word if it has ended, else its live report."""
    leaders = [pod for pod in _newest(world) if pod.attempt == attempt and pod.index == 0]
    ends = [pod.termination.outcome for pod in leaders if pod.termination is not None]
    said = next((end.progress for end in ends if end is not None and end.progress), None)
    if said is None and world.progress is not None and world.progress.attempt == attempt:
        return world.progress
    return said


def last_durable(world: TrainingWorld) -> datetime | None:
    """When the job's last checkpoint became durable, as far as is known. Pods tell of it: what is
    no moment counts as none."""
    told = last_told(world, world.jobs[-1].attempt) if world.jobs else None
    found: Manifest = world.owner.status.get("checkpoint") or {}
    written = told.checkpoint.time if told is not None and told.checkpoint else found.get("time")
    try:
        moment = from_timestamp(written) if written else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def totals_of(world: TrainingWorld, devices: int) -> Totals:
    """All attempts until now, as far as is known; it does not change by time alone."""
    recorded = _recorded(world.owner)
    pods = _newest(world)
    if not pods or pods[0].index:
        return recorded
    leader = pods[0]
    before = _from_annotation(leader.spent)
    progress = last_told(world, leader.attempt)
    told = progress.spent if progress is not None else None
    totals = before.plus(_own(leader, told, before)) if told else before
    totals = totals.at_least(recorded)
    failed_at = _failed_at(world, leader)
    begun = leader.created or leader.began
    if failed_at is not None and begun is not None:
        wasted = _seconds(begun, failed_at) - (totals.run - before.run)
        totals = replace(totals, restart=totals.restart + max(0, wasted))
    elapsed = told.elapsed_seconds if told else 0
    held = sum(_held_seconds(pod, failed_at, elapsed) for pod in pods)
    accelerator = before.accelerator + devices * held
    return totals.at_least(replace(totals, accelerator=accelerator))


def _failed_at(world: TrainingWorld, leader: PodView) -> datetime | None:
    """When the attempt failed; a lost node's pod has no end, but its Job has."""
    if leader.termination is not None:
        return leader.termination.finished if leader.termination.exit_code else None
    job = next((job for job in world.jobs if job.attempt == leader.attempt and job.failed), None)
    return job.finished if job is not None else None


def _own(leader: PodView, told: Spent, before: Totals) -> Totals:
    """The attempt's own part. To start once is needed, to start again is lost to the failure.

    What is productive is known from the store, also of attempts whose end nobody saw.
    """
    start, first = _wait_seconds(leader) + told.startup_seconds, before == Totals()
    return Totals(
        productive=max(0, told.productive_seconds - before.productive),
        startup=start if first else 0,
        restart=0 if first else start,
        checkpoint=told.checkpoint_seconds,
    )


def _wait_seconds(pod: PodView) -> int:
    """From the pod's creation to its container's start: a node, the image, volumes."""
    if pod.created is None or pod.began is None:
        return 0
    return _seconds(pod.created, pod.began)


def _held_seconds(pod: PodView, failed_at: datetime | None, elapsed_seconds: int) -> int:
    """How long its container ran; of one that runs, what was told."""
    if pod.began is None:
        return 0
    finished = pod.termination.finished if pod.termination is not None else failed_at
    return elapsed_seconds if finished is None else _seconds(pod.began, finished)


def _seconds(start: datetime, end: datetime) -> int:
    return max(0, round((end - start).total_seconds()))


def spent_before(world: TrainingWorld, spec: LLMTrainingJobSpec, attempt: Attempt) -> Totals:
    """What the pods of an attempt that starts are told: all that came before it, and the time
    since the failure that it follows."""
    totals = totals_of(world, devices_of(spec))
    ended = [job.finished for job in attempt.obsolete if job.finished is not None]
    if not ended or world.owner.condition(Condition.SUSPENDED).get("status") == "True":
        return totals
    return replace(totals, restart=totals.restart + _seconds(max(ended), world.now))


def held_now(world: TrainingWorld, devices: int) -> tuple[float, int]:
    """Accelerator-seconds of all attempts by the clock, and how many more each second brings."""
    recorded = float(_recorded(world.owner).accelerator)
    pods = [pod for pod in _newest(world) if pod.began is not None]
    if not pods or not devices:
        return recorded, 0
    held, live = float(_from_annotation(pods[0].spent).accelerator), 0
    for pod in pods:
        assert pod.began is not None
        finished = pod.termination.finished if pod.termination is not None else None
        if finished is None and pod.gone_by is not None and pod.gone_by < world.now:
            finished = pod.gone_by  # a lost node's pod never goes
        live += finished is None
        held += devices * max(0.0, ((finished or world.now) - pod.began).total_seconds())
    return max(recorded, held), devices * live
