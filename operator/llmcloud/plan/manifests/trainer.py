"""The Job of one training attempt, and the task that its pod gets."""

from dataclasses import dataclass

from llmcloud.api.contract import Architecture, MetricGate, TrainingTask
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.attempts import Attempt
from llmcloud.plan.children import ANNOTATION_DATASET_VERSION
from llmcloud.plan.manifests.job import attempt_job
from llmcloud.plan.manifests.pod import (
    Container,
    attempt_labels,
    pod_template,
    report_port,
    store_mounts,
)
from llmcloud.plan.model import Manifest, Owner, PodDefaults
from llmcloud.plan.placement import Scheduling
from llmcloud.plan.stores import StoreAccess

ROLE = "train"
DEFAULT_CHECKPOINT_SECONDS = 600


@dataclass(frozen=True)
class Inputs:
    """What an attempt needs besides the specification."""

    version: str
    dataset_name: str
    dataset_path: str
    dataset: StoreAccess
    output: StoreAccess


def training_job(
    owner: Owner,
    spec: LLMTrainingJobSpec,
    inputs: Inputs,
    recipe: str,
    attempt: Attempt,
    scheduling: Scheduling,
    defaults: PodDefaults,
) -> Manifest:
    """`<job>-train-a<number>`."""
    stores = (inputs.dataset, inputs.output)
    container = Container(
        "train",
        defaults.runtime_image,
        ("llmcloud_runtime.train",),
        spec.resources,
        training_task(owner, spec, inputs, recipe, attempt.number, defaults.version),
        (*store_mounts(stores), {"name": "shm", "mountPath": "/dev/shm"}),
        devices=scheduling.devices,
        extra=report_port(),
    )
    shm = {"medium": "Memory", "sizeLimit": spec.resources.shared_memory}
    template = pod_template(
        defaults,
        spec.pod,
        attempt_labels(owner, ROLE, attempt.number),
        (container,),
        resources=spec.resources,
        stores=stores,
        volumes=({"name": "shm", "emptyDir": shm},),
        scheduling=scheduling,
        grace_seconds=spec.checkpoint.grace_seconds,
    )
    pin = {ANNOTATION_DATASET_VERSION: inputs.version}
    return attempt_job(owner, ROLE, attempt, recipe, template, pin)


def training_task(
    owner: Owner,
    spec: LLMTrainingJobSpec,
    inputs: Inputs,
    recipe: str,
    attempt: int,
    code_version: str,
) -> TrainingTask:
    """What the trainer is told."""
    hyper, checkpoint = spec.hyperparameters, spec.checkpoint
    by_time = checkpoint.every_seconds
    if by_time is None and checkpoint.every_steps is None:
        by_time = DEFAULT_CHECKPOINT_SECONDS
    metrics = spec.evaluation.metrics if spec.evaluation else []
    return TrainingTask(
        job=owner.name,
        namespace=owner.namespace,
        owner_uid=owner.uid,
        attempt=attempt,
        recipe=recipe,
        code_version=code_version,
        architecture=Architecture.model_validate(spec.model.architecture.wire()),
        dataset=inputs.dataset.location,
        dataset_path=inputs.dataset_path,
        dataset_name=inputs.dataset_name,
        dataset_version=inputs.version,
        output=inputs.output.location,
        output_path=spec.output.store.path,
        max_steps=hyper.max_steps,
        epochs=hyper.epochs,
        learning_rate=hyper.learning_rate,
        warmup_steps=hyper.warmup_steps,
        weight_decay=hyper.weight_decay,
        global_batch_size=hyper.global_batch_size,
        precision=hyper.precision,
        seed=hyper.seed,
        checkpoint_every_seconds=by_time,
        checkpoint_every_steps=checkpoint.every_steps,
        checkpoint_keep=checkpoint.keep,
        metrics=[MetricGate.model_validate(metric.wire()) for metric in metrics],
    )
