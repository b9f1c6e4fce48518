"""Prometheus' view of training jobs, from what their status says.

A job has series of its own while it is under way, and at most `MOST_JOBS` jobs have; what is
counted over all of them has a label of few values.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, get_args

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from llmcloud.api.names import Condition
from llmcloud.api.training_status import Phase
from llmcloud.plan.conditions import reason_of
from llmcloud.plan.goodput import HOUR_SECONDS
from llmcloud.plan.model import Manifest, Owner, from_timestamp

MOST_JOBS: Final = 1000
ENDED: Final = ("Succeeded", "Failed")
JOB: Final = ["namespace", "job"]

GAUGES: Final[Mapping[str, tuple[str, tuple[str, str]]]] = {
    "step": ("Optimizer steps done.", ("progress", "step")),
    "loss": ("Training loss.", ("progress", "loss")),
    "tokens_per_second": ("Throughput.", ("progress", "tokensPerSecond")),
    "mfu_ratio": ("Model FLOPs utilization, 0 to 1.", ("goodput", "mfu")),
}
"""Gauges `llmcloud_training_job_NAME` with their help, and where the status has them."""


class TrainingMetrics(Collector):
    """Fed by every reconcile of a training job. Used by one thread."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], Manifest] = {}
        self._restarts: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()

    def record(self, owner: Owner, status: Manifest) -> None:
        """A job's status, which was `owner.status` before."""
        before = owner.status
        if status.get("attempt", 0) > before.get("attempt", 0) > 0:
            self._restarts[reason_of(before, Condition.READY)] += 1
        if status["phase"] in ENDED and before.get("phase") not in ENDED:
            self._ended[reason_of(status, Condition.READY)] += 1
        self._jobs[owner.namespace, owner.name] = status

    def forget(self, namespace: str, name: str) -> None:
        """The job is gone."""
        self._jobs.pop((namespace, name), None)

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        jobs = dict(self._jobs)
        yield self._phases(jobs.values())
        yield _counted(
            "restarts", "Attempts that followed another, by why it ended.", self._restarts
        )
        yield _counted("ended", "Jobs that came to their end, by its reason.", self._ended)
        live = [(key, status) for key, status in jobs.items() if status["phase"] not in ENDED]
        yield from _series(live[:MOST_JOBS])

    def _phases(self, statuses: Iterable[Manifest]) -> Metric:
        family = GaugeMetricFamily("llmcloud_training_jobs", "Jobs by phase.", labels=["phase"])
        counts = Counter(status["phase"] for status in statuses)
        for phase in get_args(Phase):
            family.add_metric([phase], counts[phase])
        return family


def _counted(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"llmcloud_training_{name}", text, labels=["reason"])
    for reason, count in sorted(counts.items()):
        family.add_metric([reason], count)
    return family


def _series(jobs: list[tuple[tuple[str, str], Manifest]]) -> Iterator[Metric]:
    for name, (text, (member, field)) in GAUGES.items():
        family = GaugeMetricFamily(f"llmcloud_training_job_{name}", text, labels=JOB)
        for key, status in jobs:
            value = (status.get(member) or {}).get(field)
            if value is not None:
                family.add_metric(key, value)
        yield family
    progress = GaugeMetricFamily(
        "llmcloud_training_job_progress_ratio", "Steps done of all steps, 0 to 1.", labels=JOB
    )
    saved = GaugeMetricFamily(
        "llmcloud_training_job_checkpoint_timestamp_seconds",
        "When the last durable checkpoint became so.",
        labels=JOB,
    )
    seconds = CounterMetricFamily(
        "llmcloud_training_job_seconds",
        "Where the time of all attempts went: productive, startup, restart or checkpoint.",
        labels=[*JOB, "spent"],
    )
    accelerators = CounterMetricFamily(
        "llmcloud_training_job_accelerator_seconds",
        "Of all accelerators, from the start of a pod's container to its end.",
        labels=JOB,
    )
    for key, status in jobs:
        steps, goodput = status.get("progress") or {}, status.get("goodput") or {}
        if steps.get("totalSteps"):
            progress.add_metric(key, steps["step"] / steps["totalSteps"])
        if "checkpoint" in status:
            saved.add_metric(key, from_timestamp(status["checkpoint"]["time"]).timestamp())
        if goodput:
            spent = {"productive": goodput["productiveSeconds"], **goodput["lostSeconds"]}
            for what, value in spent.items():
                seconds.add_metric([*key, what], value)
        if "acceleratorHours" in goodput:
            accelerators.add_metric(key, goodput["acceleratorHours"] * HOUR_SECONDS)
    yield from (progress, saved, seconds, accelerators)
