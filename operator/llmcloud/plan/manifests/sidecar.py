"""The container beside an engine that is not ours: has it generate once, and tells of it."""

from typing import Final

from llmcloud.api.common import Resources
from llmcloud.api.contract import SidecarTask
from llmcloud.plan.manifests.pod import Container
from llmcloud.plan.manifests.replica import report_ports
from llmcloud.plan.model import PodDefaults

RESOURCES: Final = Resources(cpu="50m", memory="128Mi", ephemeral_storage="64Mi")


def sidecar_container(served_name: str, defaults: PodDefaults) -> Container:
    """An init container that stays: it is there before the engine and goes after it."""
    return Container(
        name="sidecar",
        image=defaults.operator_image,
        args=("sidecar",),
        resources=RESOURCES,
        task=SidecarTask(model=served_name),
        extra={"restartPolicy": "Always", "ports": report_ports()},
    )
