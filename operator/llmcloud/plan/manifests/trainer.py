"""The Job of one training attempt, and the task that its pod gets."""

from dataclasses import dataclass

from llmcloud.api.contract import Architecture, MetricGate, TrainingTask
from llmcloud.api.names import LABEL_COMPONENT, LABEL_OWNER_UID
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.attempts import Attempt
from llmcloud.plan.children import ANNOTATION_DATASET_VERSION
from llmcloud.plan.manifests.job import attempt_job
from llmcloud.plan.manifests.pod import (
    Container,
    attempt_labels,
    child_labels,
    pod_template,
    report_port,
    store_mounts,
)
from llmcloud.plan.model import Manifest, Owner, PodDefaults
from llmcloud.plan.placement import Scheduling
from llmcloud.plan.stores import StoreAccess

ROLE = "train"
MEETING_PORT = 29500
DEFAULT_CHECKPOINT_SECONDS = 600


@dataclass(frozen=True)
class Inputs:
    """What an attempt needs besides the specification."""

    version: str
    dataset_name: str
    dataset_path: str
    dataset: StoreAccess
    output: StoreAccess


def meeting_service(owner: Owner) -> Manifest:
    """`<job>-train`: gives the pods of all attempts host names by which they find each other."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": _service_name(owner),
            "namespace": owner.namespace,
            "labels": child_labels(owner, ROLE),
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {LABEL_OWNER_UID: owner.uid, LABEL_COMPONENT: ROLE},
            "ports": [{"name": "meeting", "port": MEETING_PORT}],
        },
    }


def _service_name(owner: Owner) -> str:
    return f"{owner.name}-{ROLE}"


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
        training_task(owner, spec, inputs, recipe, attempt, defaults.version),
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
        subdomain=_service_name(owner) if attempt.nodes > 1 else None,
    )
    pin = {ANNOTATION_DATASET_VERSION: inputs.version}
    return attempt_job(
        owner, ROLE, attempt, recipe, template, pin, workers=attempt.nodes, queue=spec.queue
    )


def training_task(
    owner: Owner,
    spec: LLMTrainingJobSpec,
    inputs: Inputs,
    recipe: str,
    attempt: Attempt,
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
        attempt=attempt.number,
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
        nodes=attempt.nodes,
        processes=spec.resources.count or 1,
        leader=_leader(owner, attempt) if attempt.nodes > 1 else "",
        grace_seconds=checkpoint.grace_seconds,
        metrics=[MetricGate.model_validate(metric.wire()) for metric in metrics],
    )


def _leader(owner: Owner, attempt: Attempt) -> str:
    """Host name of the pod with index 0: the Job controller names pods after their Job."""
    job = f"{owner.name}-{ROLE}-a{attempt.number}"
    return f"{job}-0.{_service_name(owner)}.{owner.namespace}.svc"
