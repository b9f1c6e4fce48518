"""What Prometheus is told of training jobs: few series, named by its conventions, documented."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from llmcloud.api.names import Kind
from llmcloud.control.training_metrics import MOST_JOBS, TrainingMetrics
from llmcloud.plan.model import Manifest, Owner
from tests.support.worlds import condition, make_owner

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
RUNNING: Manifest = {
    "phase": "Running",
    "attempt": 2,
    "progress": {"step": 25, "totalSteps": 100, "loss": 2.5, "tokensPerSecond": 900},
    "checkpoint": {"step": 20, "url": "s3://c/", "time": "2026-05-01T12:00:00Z", "bytes": 9},
    "goodput": {
        "productiveSeconds": 60,
        "lostSeconds": {"startup": 5, "restart": 7, "checkpoint": 1},
        "acceleratorHours": 0.5,
        "mfu": 0.4,
    },
    "conditions": [condition("Ready", "False", "Running")],
}
WHICH = {"namespace": "ns", "job": "it"}


def job(name: str = "it", **status: Any) -> Owner:
    return make_owner(Kind.TRAINING_JOB, name, status=status)


def told(metrics: TrainingMetrics) -> Iterator[Any]:
    registry = CollectorRegistry()
    registry.register(metrics)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        yield from family.samples


def value(metrics: TrainingMetrics, name: str, **labels: str) -> float | None:
    found = [s.value for s in told(metrics) if s.name == name and s.labels == labels]
    return found[0] if found else None


def test_a_job_under_way_has_its_numbers() -> None:
    metrics = TrainingMetrics()
    metrics.record(job(), RUNNING)
    for name, expected in {
        "progress_ratio": 0.25,
        "step": 25,
        "loss": 2.5,
        "tokens_per_second": 900,
        "mfu_ratio": 0.4,
        "checkpoint_timestamp_seconds": 1777636800,
        "accelerator_seconds_total": 1800,
    }.items():
        assert value(metrics, f"llmcloud_training_job_{name}", **WHICH) == expected, name
    spent = {"productive": 60, "startup": 5, "restart": 7, "checkpoint": 1}
    for what, seconds in spent.items():
        name = "llmcloud_training_job_seconds_total"
        assert value(metrics, name, **WHICH, spent=what) == seconds
    assert value(metrics, "llmcloud_training_jobs", phase="Running") == 1
    assert value(metrics, "llmcloud_training_jobs", phase="Failed") == 0


def test_what_is_not_known_has_no_number() -> None:
    metrics = TrainingMetrics()
    metrics.record(job(), {"phase": "Pending"})
    assert [s for s in told(metrics) if "job" in s.labels] == []


def test_a_jobs_series_end_with_it() -> None:
    metrics = TrainingMetrics()
    metrics.record(job(), RUNNING)
    metrics.record(job(**RUNNING), {**RUNNING, "phase": "Succeeded"})
    assert [s for s in told(metrics) if "job" in s.labels] == []
    assert value(metrics, "llmcloud_training_jobs", phase="Succeeded") == 1
    metrics.forget("ns", "it")
    assert value(metrics, "llmcloud_training_jobs", phase="Succeeded") == 0


def test_an_attempt_that_follows_another_is_counted_by_why_it_ended() -> None:
    metrics = TrainingMetrics()
    metrics.record(job(), {"phase": "Starting", "attempt": 1})
    first = {"phase": "Pending", "attempt": 1}
    ended: Manifest = {**first, "conditions": [condition("Ready", "False", "Preempted")]}
    metrics.record(job(**ended), {"phase": "Starting", "attempt": 2})
    metrics.record(job(phase="Starting", attempt=2), {"phase": "Running", "attempt": 2})
    assert value(metrics, "llmcloud_training_restarts_total", reason="Preempted") == 1
    assert len([s for s in told(metrics) if s.name.endswith("restarts_total")]) == 1


def test_an_end_is_counted_once() -> None:
    metrics = TrainingMetrics()
    done: Manifest = {
        "phase": "Failed",
        "conditions": [condition("Ready", "False", "LossNotFinite")],
    }
    metrics.record(job(**RUNNING), done)
    metrics.record(job(**done), done)
    assert value(metrics, "llmcloud_training_ended_total", reason="LossNotFinite") == 1


def test_many_jobs_make_no_more_series_than_a_thousand() -> None:
    metrics = TrainingMetrics()
    for number in range(MOST_JOBS + 5):
        metrics.record(job(f"job-{number}"), RUNNING)
    named = {s.labels["job"] for s in told(metrics) if "job" in s.labels}
    assert len(named) == MOST_JOBS
    assert value(metrics, "llmcloud_training_jobs", phase="Running") == MOST_JOBS + 5


def test_every_metric_is_documented_and_every_document_is_of_a_metric() -> None:
    metrics = TrainingMetrics()
    metrics.record(job(**RUNNING), {**RUNNING, "phase": "Failed"})
    metrics.record(job("other", attempt=1), RUNNING)
    names = {sample.name for sample in told(metrics)}
    text = DOCUMENT.read_text()
    documented = set(re.findall(r"`(llmcloud_training_[a-z_]+)`", text))
    assert names == documented
