"""Our own engine on transformers: CPUs or one accelerator; it tells itself when it is ready."""

from llmcloud.api.contract import REPORT_PORT
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.plan.manifests.pod import Container
from llmcloud.plan.manifests.replica import (
    LOAD_SECONDS,
    MOUNTS,
    before_stop,
    probe,
    probes,
    report_ports,
    serving_ports,
)
from llmcloud.plan.model import Manifest, PodDefaults


def transformers_container(
    spec: LLMDeploymentSpec, served_name: str, devices: Manifest, defaults: PodDefaults
) -> Container:
    """Ready after one generation, healthy while it loads or answers."""
    drain = str(spec.scaling.drain_seconds)
    return Container(
        name="engine",
        image=defaults.runtime_image,
        args=("llmcloud_runtime.engine", "--model-name", served_name, "--drain-seconds", drain),
        resources=spec.resources,
        mounts=MOUNTS,
        devices=devices,
        extra={
            "ports": [*serving_ports(), *report_ports()],
            "lifecycle": before_stop(),
            **probes(
                probe("/ready", REPORT_PORT, period=2, failures=LOAD_SECONDS // 2),
                probe("/ready", REPORT_PORT, period=2, failures=2),
                probe("/healthz", REPORT_PORT, period=10, failures=6),
            ),
        },
    )
