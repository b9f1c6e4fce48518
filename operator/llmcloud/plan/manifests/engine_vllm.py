"""vLLM: its official image as it is, and beside it a sidecar that has it generate once.

The image has no user of ours, a root that may not be written and no network but the gateways':
what it caches goes to the scratch volume, and what it would look up is found in the model's
folder or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llmcloud.api.contract import ENGINE_PORT, SCRATCH_PATH
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.plan.manifests.pod import Container
from llmcloud.plan.manifests.replica import (
    LOAD_SECONDS,
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
    ("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0"),  # a host that is allowed must not lead to others
)
NO_HOST: Final = "none.invalid"
"""Reserved by RFC 6761: nobody has it. An empty list of hosts would allow all of them."""
LORA_ENVIRONMENT: Final = (("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1"),)
LORA_OPTIONS: Final[Mapping[str, str]] = {
    "--max-loras": "4",  # in one batch
    "--max-cpu-loras": "32",  # as many as a deployment may have
    "--max-lora-rank": "64",
}
"""They do not depend on the adapters, which change while the engine runs."""
GROUP_ENVIRONMENT: Final = (
    ("GROUP", "metadata.labels['apps.kubernetes.io/pod-index']"),
    ("VLLM_HOST_IP", "status.podIP"),
)
MEETING_PORT: Final = 29501
FOLLOW_SECONDS: Final = 10
ASK_LEADER: Final = (
    "import os, urllib.request; "
    f"urllib.request.urlopen('http://%s:{ENGINE_PORT}/health' % os.environ['LEADER'], timeout=4)"
)


@dataclass(frozen=True)
class Seat:
    """A pod's place in a replica of several nodes. `leader`: the host name of rank 0."""

    rank: int
    nodes: int
    leader: str


def vllm_container(
    spec: LLMDeploymentSpec,
    served_name: str,
    devices: Manifest,
    defaults: PodDefaults,
    seat: Seat | None = None,
) -> Container:
    """One engine over all accelerators of the pod, or a part of one that is spread over nodes.

    Tensor parallel within a pod, pipeline parallel over pods. /health alone is no proof that it
    generates: the sidecar's /ready is.
    """
    headless = seat is not None and seat.rank > 0
    arguments = (*_arguments(spec, served_name), *_lora(spec), *_group(seat), *spec.engine.args)
    leading = {"ports": serving_ports(), "lifecycle": before_stop(), **beside_sidecar()}
    return Container(
        name="engine",
        image=defaults.vllm_image,
        args=arguments,
        resources=spec.resources,
        mounts=MOUNTS,
        env=(
            *ENVIRONMENT,
            *(LORA_ENVIRONMENT if spec.adapters else ()),
            *((("LEADER", seat.leader),) if seat else ()),
        ),
        pod_env=GROUP_ENVIRONMENT if seat else (),
        devices=devices,
        extra={"command": ["vllm", "serve"], **(following() if headless else leading)},
    )


def following() -> Manifest:
    """A part that is not the leader starts anew when the leader no longer answers: a group comes
    together as a whole."""
    probe = {"exec": {"command": ["python3", "-c", ASK_LEADER]}, "timeoutSeconds": 5}
    period = {"periodSeconds": FOLLOW_SECONDS}
    return {
        "startupProbe": {**probe, **period, "failureThreshold": LOAD_SECONDS // FOLLOW_SECONDS},
        "livenessProbe": {**probe, **period, "failureThreshold": 3},
    }


def _arguments(spec: LLMDeploymentSpec, served_name: str) -> tuple[str, ...]:
    """Weights of any other format than safetensors may hold code. Media come in the request, as
    data: URLs: what is fetched by URL is fetched from within the cluster. `engine.args` may name
    hosts instead."""
    options = {
        "--served-model-name": served_name,
        "--host": "0.0.0.0",
        "--port": ENGINE_PORT,
        "--load-format": "safetensors",
        "--allowed-media-domains": NO_HOST,
        "--tensor-parallel-size": spec.resources.count or 1,
        "--shutdown-timeout": spec.scaling.drain_seconds,
    }
    return (model_path(served_name), *_words(options))


def _lora(spec: LLMDeploymentSpec) -> tuple[str, ...]:
    return ("--enable-lora", *_words(LORA_OPTIONS)) if spec.adapters else ()


def _group(seat: Seat | None) -> tuple[str, ...]:
    if seat is None:
        return ()
    options = {
        "--pipeline-parallel-size": seat.nodes,
        "--nnodes": seat.nodes,
        "--node-rank": seat.rank,
        "--master-addr": "$(LEADER)",
        "--master-port": MEETING_PORT,
    }
    return (*_words(options), *(("--headless",) if seat.rank else ()))


def _words(options: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(str(word) for option in options.items() for word in option)
