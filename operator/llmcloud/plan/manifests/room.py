"""The Job that asks for the nodes which a smaller attempt lacks; its pods do nothing."""

from llmcloud.api.common import Resources
from llmcloud.api.contract import RoomTask
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.attempts import Attempt
from llmcloud.plan.children import ANNOTATION_BASE
from llmcloud.plan.group import ROOM
from llmcloud.plan.manifests.job import attempt_job
from llmcloud.plan.manifests.pod import Container, attempt_labels, pod_template
from llmcloud.plan.model import Manifest, Owner, PodDefaults
from llmcloud.plan.placement import Scheduling

GRACE_SECONDS = 5


def room_job(
    owner: Owner,
    spec: LLMTrainingJobSpec,
    attempt: Attempt,
    pods: int,
    scheduling: Scheduling,
    defaults: PodDefaults,
) -> Manifest:
    """`<job>-room-a<number>`: `pods` of the size and in the place of the attempt's."""
    assert attempt.job is not None
    container = Container(
        "room",
        defaults.operator_image,
        ("task",),
        Resources(**spec.resources.model_dump(include=set(Resources.model_fields))),
        RoomTask(),
        devices=scheduling.devices,
    )
    template = pod_template(
        defaults,
        spec.pod,
        attempt_labels(owner, ROOM, attempt.number),
        (container,),
        resources=spec.resources,
        scheduling=scheduling,
        grace_seconds=GRACE_SECONDS,
    )
    base = {ANNOTATION_BASE: str(attempt.job.nodes)}
    return attempt_job(owner, ROOM, attempt, "", template, base, workers=pods)
