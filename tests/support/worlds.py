"""Builders of worlds: the smallest valid objects, children and pods, as an API server has them.

Everything is a raw Kubernetes object first and goes through the product's own readers, so that a
test of a decision also tests how the world is read.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from llmcloud.api.contract import (
    DatasetResult,
    MetricResult,
    Outcome,
    ProvisionResult,
    Retry,
    TrainingResult,
)
from llmcloud.api.names import (
    ANNOTATION_RECIPE,
    API_VERSION,
    LABEL_ATTEMPT,
    Condition,
    Kind,
    Reason,
)
from llmcloud.plan.accelerators import Accelerator, Catalogue, Platform, Pool
from llmcloud.plan.children import (
    ANNOTATION_FAILURES,
    ANNOTATION_INPUTS,
    ANNOTATION_PLACE,
    ANNOTATION_RETRIES,
    JobView,
    PodView,
    job_view,
    pod_view,
)
from llmcloud.plan.model import Manifest, Owner, PodDefaults, owner_from, timestamp
from tests.support.telling import spent, told

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DEFAULTS = PodDefaults(
    operator_image="registry/operator:1",
    data_image="registry/data:1",
    runtime_image="registry/runtime:1",
    version="1",
    gateway_url="http://gateway",
    gateway_image="registry/gateway:1",
    vllm_image="registry/vllm:1",
    namespace="system",
    catalogue=Catalogue(
        platform="here",
        platforms={"here": Platform(node_label="here")},
        accelerators={"gpu": Accelerator(pools=[Pool(platform="here", labels={"gpu": ["yes"]})])},
    ),
)
VERSION_1 = "sha256:" + "1" * 64
VERSION_2 = "sha256:" + "2" * 64
MODEL_DIGEST = "sha256:" + "a" * 64

STORE_SPEC: Manifest = {"provider": "aws", "bucket": "team-a", "create": True}
DATASET_SPEC: Manifest = {
    "type": "text",
    "sources": [{"store": {"name": "raw", "path": "books/"}}],
    "tokenizer": {"train": {"vocabularySize": 1000}},
    "sequenceLength": 128,
    "output": {"store": {"name": "work", "path": "corpus/"}},
}
TRAINING_SPEC: Manifest = {
    "model": {
        "architecture": {
            "family": "llama", "hiddenSize": 64, "layers": 2, "heads": 4, "contextLength": 128,
        }
    },
    "task": "causal-lm",
    "method": "pretrain",
    "datasets": [{"name": "corpus"}],
    "hyperparameters": {"maxSteps": 100},
    "output": {"store": {"name": "work", "path": "models/a/"}},
}  # fmt: skip
DEPLOYMENT_SPEC: Manifest = {"model": {"trainingJob": {"name": "train"}}}
KEY_SPEC: Manifest = {"sha256": "5" * 64}

SPECS = {
    Kind.OBJECT_STORE: STORE_SPEC,
    Kind.DATASET: DATASET_SPEC,
    Kind.TRAINING_JOB: TRAINING_SPEC,
    Kind.DEPLOYMENT: DEPLOYMENT_SPEC,
    Kind.ACCESS_KEY: KEY_SPEC,
}


def at(seconds: float) -> datetime:
    """`seconds` after NOW."""
    return NOW + timedelta(seconds=seconds)


def raw_owner(kind: Kind, name: str = "it", spec: Manifest | None = None) -> Manifest:
    """A custom resource nobody has looked at yet; `spec` members replace the smallest valid."""
    return {
        "apiVersion": API_VERSION,
        "kind": str(kind),
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{kind.lower()}-{name}",
            "generation": 1,
            "creationTimestamp": timestamp(NOW),
        },
        "spec": {**SPECS[kind], **(spec or {})},
        "status": {},
    }


def make_owner(
    kind: Kind,
    name: str = "it",
    *,
    spec: Manifest | None = None,
    status: Manifest | None = None,
    **metadata: Any,
) -> Owner:
    """An owner; `metadata` members are the wire's (annotations, finalizers, generation...)."""
    raw = raw_owner(kind, name, spec)
    raw["metadata"] |= metadata
    return owner_from({**raw, "status": status or {}})


def condition(type_: str, status: str, reason: str = "Pending", message: str = "") -> Manifest:
    """A condition of generation 1 that flipped at NOW."""
    return {
        "type": type_,
        "status": status,
        "observedGeneration": 1,
        "lastTransitionTime": timestamp(NOW),
        "reason": reason,
        "message": message,
    }


def ready_store(name: str = "work") -> Owner:
    """An ObjectStore that can be used."""
    status = {"conditions": [condition(Condition.READY, "True", "Provisioned")]}
    return make_owner(Kind.OBJECT_STORE, name, status=status)


def ready_dataset(name: str = "corpus", version: str = VERSION_1) -> Owner:
    """An LLMDataset with one version."""
    status = {
        "version": version,
        "versions": [version],
        "conditions": [condition(Condition.READY, "True", "Prepared")],
    }
    return make_owner(Kind.DATASET, name, status=status)


def complete_training(name: str = "train") -> Owner:
    """An LLMTrainingJob with a model."""
    ended = [condition(c, "True", "Succeeded") for c in (Condition.READY, Condition.COMPLETE)]
    model = {"url": "s3://team-a/models/a/model/", "path": "model/", "digest": MODEL_DIGEST}
    return make_owner(
        Kind.TRAINING_JOB, name, status={"attempt": 1, "model": model, "conditions": ended}
    )


def raw_job(
    attempt: int = 1,
    recipe: str = "r",
    *,
    retries: int = 0,
    failures: int = 0,
    place: int = 0,
    version: str = "",
    created: datetime = NOW,
    tried: datetime | None = NOW,
    image: str = "registry/runtime:1",
    nodes: int = 1,
) -> Manifest:
    """A Job that has just been made, and that the Job controller has looked at."""
    annotations = {
        ANNOTATION_RECIPE: recipe,
        ANNOTATION_RETRIES: str(retries),
        ANNOTATION_FAILURES: str(failures),
        ANNOTATION_PLACE: str(place),
    }
    if version:
        pins = {"datasets": [{"name": "corpus", "version": version}]}
        annotations[ANNOTATION_INPUTS] = json.dumps(pins)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"it-a{attempt}",
            "namespace": "ns",
            "uid": f"uid-job-a{attempt}",
            "creationTimestamp": timestamp(created),
            "labels": {LABEL_ATTEMPT: str(attempt)},
            "annotations": annotations,
        },
        "spec": {
            "completions": nodes,
            "template": {"spec": {"containers": [{"image": image}]}},
        },
        "status": {"startTime": timestamp(tried)} if tried else {},
    }


def end_job(raw: Manifest, moment: datetime = NOW, *, succeeded: bool, message: str = "") -> None:
    """The Job controller's last word."""
    raw["status"] = {
        "conditions": [
            {
                "type": "Complete" if succeeded else "Failed",
                "status": "True",
                "lastTransitionTime": timestamp(moment),
                "message": message,
            }
        ]
    }


def raw_pod(job: Manifest, phase: str = "Pending", index: int = 0, **status: Any) -> Manifest:
    """A pod of the job; `status` members are the wire's."""
    meta = job["metadata"]
    own = {
        "batch.kubernetes.io/job-name": meta["name"],
        "batch.kubernetes.io/job-completion-index": str(index),
    }
    return {
        "metadata": {
            "name": f"{meta['name']}-{index}-x",
            "namespace": meta["namespace"],
            "uid": f"{meta['uid']}-pod-{index}",
            "labels": {**meta["labels"], **own},
        },
        "status": {"phase": phase, **status},
    }


def ended(
    exit_code: int,
    reason: str = "",
    message: str = "",
    started: datetime | None = None,
    finished: datetime | None = None,
) -> Manifest:
    """Pod status members of a container that ended."""
    state: Manifest = {"exitCode": exit_code, "reason": reason, "message": message}
    for name, moment in (("startedAt", started), ("finishedAt", finished)):
        state |= {name: timestamp(moment)} if moment else {}
    return {"containerStatuses": [{"name": "main", "state": {"terminated": state}}]}


def runs(since: datetime = NOW) -> Manifest:
    """Pod status members of a container that runs."""
    state = {"running": {"startedAt": timestamp(since)}}
    return {"containerStatuses": [{"name": "main", "state": state}]}


def waiting(reason: str, message: str = "", since: datetime = NOW) -> Manifest:
    """Pod status members of a container that does not start on the node it got."""
    state = {"waiting": {"reason": reason, "message": message}}
    bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(since)}
    return {"containerStatuses": [{"name": "main", "state": state}], "conditions": [bound]}


def scheduled(since: datetime = NOW) -> Manifest:
    """Pod status members of a pod that got a node."""
    bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(since)}
    return {"conditions": [bound]}


def unschedulable(message: str) -> Manifest:
    """Pod status members of a pod that the scheduler cannot place."""
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"conditions": [{**refused, "message": message}]}


def make_job(
    attempt: int = 1,
    recipe: str = "r",
    *,
    ended_at: datetime | None = None,
    succeeded: bool = False,
    deleting: bool = False,
    pod: Manifest | None = None,
    phase: str = "",
    pods: list[Manifest] | None = None,
    warnings: tuple[str, ...] = (),
    **more: Any,
) -> JobView:
    """A Job as decisions see it. `phase` gives it a pod, whose status has the members `pod`;
    `pods` gives it several, by their status."""
    raw = raw_job(attempt, recipe, **more)
    if ended_at is not None:
        end_job(raw, ended_at, succeeded=succeeded)
    if deleting:
        raw["metadata"]["deletionTimestamp"] = timestamp(NOW)
    members = pods if pods is not None else [{"phase": phase, **(pod or {})}] if phase else []
    views = [make_pod(raw, index=index, **status) for index, status in enumerate(members)]
    return job_view(raw, views, warnings)


def make_pod(
    job: Manifest | None = None, phase: str = "Pending", index: int = 0, **status: Any
) -> PodView:
    """A pod as decisions see it."""
    return pod_view(raw_pod(job or raw_job(), phase, index, **status))


def succeeded_job(outcome: Outcome, attempt: int = 1, recipe: str = "r", **more: Any) -> JobView:
    """A Job whose pod ended with `outcome`."""
    return make_job(
        attempt, recipe, ended_at=NOW, succeeded=True, phase="Succeeded",
        pod=ended(0, "Completed", outcome.model_dump_json(by_alias=True)), **more,
    )  # fmt: skip


def failed_job(
    exit_code: int = 1, reason: str = "Error", message: str = "", attempt: int = 1,
    recipe: str = "r", ended_at: datetime = NOW, **more: Any,
) -> JobView:  # fmt: skip
    """A Job whose pod ended badly."""
    return make_job(
        attempt, recipe, ended_at=ended_at, phase="Failed",
        pod=ended(exit_code, reason, message), **more,
    )  # fmt: skip


def refusal(reason: Reason, retry: Retry, message: str = "It does not work: change it") -> Outcome:
    """The outcome of a pod that says why it failed."""
    return Outcome(succeeded=False, reason=reason, message=message, retry=retry)


PROVISIONED = Outcome(
    succeeded=True,
    reason=Reason.PROVISIONED,
    provision=ProvisionResult(
        url="s3://team-a/",
        protections={"encrypted": True, "versioned": False, "private": None, "owned": False},
    ),
)
REMOVED = Outcome(succeeded=True, reason=Reason.SUCCEEDED, message="Removed")


def prepared(version: str, dropped: Sequence[str] = ()) -> Outcome:
    """The outcome of a preparation."""
    return Outcome(
        succeeded=True,
        reason=Reason.PREPARED,
        dataset=DatasetResult(
            version=version, tokenizer_digest=VERSION_2, documents=10, validation_documents=1,
            documents_read=11,
            tokens=5000, bytes=20000, shards=2, rejected={"empty": 1},
            redacted={"email": 2}, reused=False, dropped=list(dropped),
        ),
    )  # fmt: skip


PREPARED = prepared(VERSION_1)


def trained(*, passed: bool = True) -> Outcome:
    """The outcome of training that came to its end."""
    return Outcome(
        succeeded=True,
        reason=Reason.SUCCEEDED if passed else Reason.GATE_NOT_PASSED,
        training=TrainingResult(
            model_url="s3://team-a/models/a/model/", model_digest=MODEL_DIGEST,
            model_path="model/", tokenizer_digest=VERSION_2, steps=100, passed=passed,
            metrics=[MetricResult(name="perplexity", value=12.5, passed=passed)],
            baselines=[MetricResult(name="unigram", value=99.0, passed=True)],
        ),
        progress=told(spent(startup=5, productive=60, checkpoint=1, elapsed=70), step=100),
    )  # fmt: skip


def by_type(status: Manifest | None) -> dict[str, Manifest]:
    """The conditions of a status by type."""
    assert status is not None
    return {c["type"]: c for c in status["conditions"]}


def said(status: Manifest | None) -> tuple[str, str]:
    """Status and reason of Ready."""
    ready = by_type(status)["Ready"]
    return ready["status"], ready["reason"]
