"""Our own engine on transformers: CPUs or one accelerator; it tells itself when it is ready."""

from typing import Final

from llmcloud.api.contract import REPORT_PORT
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.plan.manifests.pod import Container
from llmcloud.plan.manifests.replica import (
    MOUNTS,
    before_stop,
    beside_sidecar,
    probes,
    report_ports,
    serving_ports,
)
from llmcloud.plan.model import Manifest, PodDefaults

PRIVATE_REPORT_PORT: Final = 9091
"""The engine's own, where a sidecar reports on `REPORT_PORT`."""


def transformers_container(
    spec: LLMDeploymentSpec, served_name: str, devices: Manifest, defaults: PodDefaults
) -> Container:
    """Ready after one generation, healthy while it loads or answers."""
    drain = str(spec.scaling.drain_seconds)
    args = ("llmcloud_runtime.engine", "--model-name", served_name, "--drain-seconds", drain)
    with_adapters = ("--adapters", "--report-port", str(PRIVATE_REPORT_PORT))
    ready, alive = ("/ready", REPORT_PORT), ("/healthz", REPORT_PORT)
    return Container(
        name="engine",
        image=defaults.runtime_image,
        args=(*args, *(with_adapters if spec.adapters else ())),
        resources=spec.resources,
        mounts=MOUNTS,
        devices=devices,
        extra={
            "ports": [*serving_ports(), *(() if spec.adapters else report_ports())],
            "lifecycle": before_stop(),
            **(beside_sidecar() if spec.adapters else probes(ready, ready, alive)),
        },
    )
