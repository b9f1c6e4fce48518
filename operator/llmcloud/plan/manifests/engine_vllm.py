"""vLLM: its official image as it is, and beside it a sidecar that has it generate once.

The image has no user of ours, a root that may not be written and no network but the gateways':
what it caches goes to the scratch volume, and what it would look up is found in the model's
folder or not at all.
"""

from typing import Final

from llmcloud.api.contract import ENGINE_PORT, REPORT_PORT, SCRATCH_PATH
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.plan.manifests.pod import Container
from llmcloud.plan.manifests.replica import (
    LOAD_SECONDS,
    MOUNTS,
    before_stop,
    model_path,
    probe,
    probes,
    serving_ports,
)
from llmcloud.plan.model import Manifest, PodDefaults

ENVIRONMENT: Final = (
    ("HOME", SCRATCH_PATH),
    ("USER", "llmcloud"),  # torch asks for the user's name, which the image does not know
    ("TORCHINDUCTOR_CACHE_DIR", f"{SCRATCH_PATH}/torchinductor"),
    ("HF_HUB_OFFLINE", "1"),
    ("VLLM_NO_USAGE_STATS", "1"),
)


def vllm_container(
    spec: LLMDeploymentSpec, served_name: str, devices: Manifest, defaults: PodDefaults
) -> Container:
    """One engine over all accelerators of the pod: tensor parallel.

    /health alone is no proof that it generates: the sidecar's /ready is.
    """
    return Container(
        name="engine",
        image=defaults.vllm_image,
        args=(*_arguments(spec, served_name), *spec.engine.args),
        resources=spec.resources,
        mounts=MOUNTS,
        env=ENVIRONMENT,
        devices=devices,
        extra={
            "command": ["vllm", "serve"],
            "ports": serving_ports(),
            "lifecycle": before_stop(),
            **probes(
                probe("/health", ENGINE_PORT, period=2, failures=LOAD_SECONDS // 2),
                probe("/ready", REPORT_PORT, period=2, failures=2),
                probe("/health", ENGINE_PORT, period=10, failures=6),
            ),
        },
    )


def _arguments(spec: LLMDeploymentSpec, served_name: str) -> tuple[str, ...]:
    """Weights of any other format than safetensors may hold code."""
    options = {
        "--served-model-name": served_name,
        "--host": "0.0.0.0",
        "--port": ENGINE_PORT,
        "--load-format": "safetensors",
        "--tensor-parallel-size": spec.resources.count or 1,
        "--shutdown-timeout": spec.scaling.drain_seconds,
    }
    words = (str(word) for option in options.items() for word in option)
    return (model_path(served_name), *words)
