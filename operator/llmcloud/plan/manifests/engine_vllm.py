"""vLLM: its official image as it is, and beside it a sidecar that has it generate once.

The image has no user of ours, a root that may not be written and no network but the gateways':
what it caches goes to the scratch volume, and what it would look up is found in the model's
folder or not at all.
"""

from typing import Final

from llmcloud.api.contract import ENGINE_PORT, SCRATCH_PATH
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.plan.manifests.pod import Container
from llmcloud.plan.manifests.replica import (
    MOUNTS,
    before_stop,
    beside_sidecar,
    model_path,
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
LORA_ENVIRONMENT: Final = (("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1"),)
LORA_OPTIONS: Final = {
    "--max-loras": "4",  # in one batch
    "--max-cpu-loras": "32",  # as many as a deployment may have
    "--max-lora-rank": "64",
}
"""They do not depend on the adapters, which change while the engine runs."""


def vllm_container(
    spec: LLMDeploymentSpec, served_name: str, devices: Manifest, defaults: PodDefaults
) -> Container:
    """One engine over all accelerators of the pod: tensor parallel.

    /health alone is no proof that it generates: the sidecar's /ready is.
    """
    return Container(
        name="engine",
        image=defaults.vllm_image,
        args=(*_arguments(spec, served_name), *_lora(spec), *spec.engine.args),
        resources=spec.resources,
        mounts=MOUNTS,
        env=(*ENVIRONMENT, *(LORA_ENVIRONMENT if spec.adapters else ())),
        devices=devices,
        extra={
            "command": ["vllm", "serve"],
            "ports": serving_ports(),
            "lifecycle": before_stop(),
            **beside_sidecar(),
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


def _lora(spec: LLMDeploymentSpec) -> tuple[str, ...]:
    if not spec.adapters:
        return ()
    return ("--enable-lora", *(word for option in LORA_OPTIONS.items() for word in option))
