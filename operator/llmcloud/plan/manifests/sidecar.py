"""The container beside an engine: has it generate once and tells of it; keeps its adapters."""

from typing import Final

from llmcloud.api.adapter import ADAPTERS_FILE, ADAPTERS_FOLDER
from llmcloud.api.common import Resources
from llmcloud.api.contract import MODELS_PATH, SidecarTask
from llmcloud.api.names import ANNOTATION_ADAPTERS
from llmcloud.plan.manifests.pod import Container, store_mounts
from llmcloud.plan.manifests.replica import report_ports
from llmcloud.plan.model import Manifest, PodDefaults
from llmcloud.plan.stores import StoreAccess

RESOURCES: Final = Resources(cpu="50m", memory="128Mi", ephemeral_storage="64Mi")
FETCHING: Final = Resources(cpu="50m", memory="512Mi", ephemeral_storage="64Mi")
ADAPTERS_VOLUME: Final[Manifest] = {
    "name": "adapters",
    "downwardAPI": {
        "items": [
            {
                "path": ADAPTERS_FILE,
                "fieldRef": {"fieldPath": f"metadata.annotations['{ANNOTATION_ADAPTERS}']"},
            }
        ]
    },
}


def sidecar_container(served_name: str, defaults: PodDefaults) -> Container:
    """An init container that stays: it is there before the engine and goes after it."""
    return _container(SidecarTask(model=served_name), RESOURCES, (), defaults)


def adapters_sidecar(
    served_name: str, stores: tuple[StoreAccess, ...], defaults: PodDefaults
) -> Container:
    """One that fetches adapters from `stores` as well, and has the engine load them."""
    mounts: tuple[Manifest, ...] = (
        {"name": "models", "mountPath": MODELS_PATH},
        {"name": "adapters", "mountPath": ADAPTERS_FOLDER, "readOnly": True},
        *store_mounts(stores),
    )
    return _container(SidecarTask(model=served_name, adapters=True), FETCHING, mounts, defaults)


def _container(
    task: SidecarTask, resources: Resources, mounts: tuple[Manifest, ...], defaults: PodDefaults
) -> Container:
    return Container(
        name="sidecar",
        image=defaults.operator_image,
        args=("sidecar",),
        resources=resources,
        task=task,
        mounts=mounts,
        extra={"restartPolicy": "Always", "ports": report_ports()},
    )
