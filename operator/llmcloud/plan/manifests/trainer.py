"""The Job of one training attempt, and the task that its pod gets."""

from llmcloud.api.base import canonical_json
from llmcloud.api.contract import HUB_PATH, DistillTask, MetricGate, TrainingTask
from llmcloud.api.training import Hyperparameters, LLMTrainingJobSpec
from llmcloud.plan.attempts import Attempt
from llmcloud.plan.children import ANNOTATION_INPUTS
from llmcloud.plan.goodput import Totals
from llmcloud.plan.inputs import Inputs
from llmcloud.plan.manifests.job import attempt_job
from llmcloud.plan.manifests.pod import (
    Container,
    attempt_labels,
    names_service,
    pod_template,
    report_port,
    store_mounts,
)
from llmcloud.plan.model import Manifest, Owner, PodDefaults
from llmcloud.plan.placement import Scheduling

ROLE = "train"
MEETING_PORT = 29500
DEFAULT_CHECKPOINT_SECONDS = 600
SHARDED = {"Auto": None, "Always": True, "Never": False}


def meeting_service(owner: Owner) -> Manifest:
    """`<job>-train`: gives the pods of all attempts host names by which they find each other."""
    return names_service(owner, _service_name(owner), ROLE, MEETING_PORT)


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
    spent: Totals,
) -> Manifest:
    """`<job>-train-a<number>`. `spent`: what the attempts before it came to."""
    tokens, token_mounts = _hub_tokens(inputs)
    online = any(m and m.input.hub for m in (inputs.model, inputs.teacher))
    container = Container(
        "train",
        defaults.runtime_image,
        ("llmcloud_runtime.train",),
        spec.resources,
        training_task(owner, spec, inputs, recipe, attempt, scheduling, defaults.version),
        (*store_mounts(inputs.stores), *token_mounts, {"name": "shm", "mountPath": "/dev/shm"}),
        env=(("HF_HUB_OFFLINE", "0"),) if online else (),
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
        stores=inputs.stores,
        volumes=({"name": "shm", "emptyDir": shm}, *tokens),
        scheduling=scheduling,
        grace_seconds=spec.checkpoint.grace_seconds,
        subdomain=_service_name(owner) if attempt.nodes > 1 else None,
        annotations=spent.annotation,
    )
    pins = {ANNOTATION_INPUTS: canonical_json(inputs.pins).decode()}
    return attempt_job(
        owner, ROLE, attempt, recipe, template, pins, workers=attempt.nodes, queue=spec.queue
    )


def _hub_tokens(inputs: Inputs) -> tuple[tuple[Manifest, ...], tuple[Manifest, ...]]:
    """Volumes and mounts of the hub's tokens."""
    volumes: list[Manifest] = []
    mounts: list[Manifest] = []
    for role, model in (("model", inputs.model), ("teacher", inputs.teacher)):
        if model is None or model.token is None:
            continue
        items = [{"key": model.token.key, "path": "token"}]
        secret = {"secretName": model.token.name, "items": items, "defaultMode": 0o440}
        volumes.append({"name": f"hub-{role}", "secret": secret})
        path = f"{HUB_PATH}/{role}"
        mounts.append({"name": f"hub-{role}", "mountPath": path, "readOnly": True})
    return tuple(volumes), tuple(mounts)


def training_task(
    owner: Owner,
    spec: LLMTrainingJobSpec,
    inputs: Inputs,
    recipe: str,
    attempt: Attempt,
    scheduling: Scheduling,
    code_version: str,
) -> TrainingTask:
    """What the trainer is told."""
    hyper, checkpoint = spec.hyperparameters or Hyperparameters(), spec.checkpoint
    by_time = checkpoint.every_seconds
    if by_time is None and checkpoint.every_steps is None:
        by_time = DEFAULT_CHECKPOINT_SECONDS
    metrics = spec.evaluation.metrics if spec.evaluation else []
    distill = None
    if spec.distill is not None and inputs.teacher is not None:
        distill = DistillTask(
            teacher=inputs.teacher.input,
            temperature=spec.distill.temperature,
            alpha=spec.distill.alpha,
        )
    return TrainingTask(
        job=owner.name,
        namespace=owner.namespace,
        owner_uid=owner.uid,
        attempt=attempt.number,
        recipe=recipe,
        code_version=code_version,
        task=spec.task,
        method=spec.method,
        model=inputs.model.input,
        lora=spec.lora,
        prompt_tuning=spec.prompt_tuning,
        distill=distill,
        datasets=[dataset.input for dataset in inputs.datasets],
        evaluation_dataset=inputs.evaluation.input if inputs.evaluation else None,
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
        extra=hyper.extra or {},
        checkpoint_every_seconds=by_time,
        checkpoint_every_steps=checkpoint.every_steps,
        checkpoint_keep=checkpoint.keep,
        nodes=attempt.nodes,
        processes=1 if spec.method == "evaluate" else spec.resources.count or 1,
        sharded=SHARDED[spec.sharding],
        leader=_leader(owner, attempt) if attempt.nodes > 1 else "",
        peak_teraflops=dict(scheduling.peak_teraflops),
        grace_seconds=checkpoint.grace_seconds,
        metrics=[MetricGate.model_validate(metric.wire()) for metric in metrics],
    )


def _leader(owner: Owner, attempt: Attempt) -> str:
    """Host name of the pod with index 0: the Job controller names pods after their Job."""
    job = f"{owner.name}-{ROLE}-a{attempt.number}"
    return f"{job}-0.{_service_name(owner)}.{owner.namespace}.svc"
