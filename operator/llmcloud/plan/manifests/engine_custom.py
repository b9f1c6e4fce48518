"""An image that the user brings: it serves OpenAI's paths and says by itself when it can."""

from typing import Final

from llmcloud.api.contract import ENGINE_PORT
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.plan.manifests.pod import Container
from llmcloud.plan.manifests.replica import (
    MOUNTS,
    before_stop,
    model_path,
    probes,
    serving_ports,
)
from llmcloud.plan.model import Manifest

HEALTH_PATH: Final = "/health"


def custom_container(spec: LLMDeploymentSpec, served_name: str, devices: Manifest) -> Container:
    """The model's folder and name are in its environment, so that its arguments can name them."""
    engine = spec.engine
    port = engine.port or ENGINE_PORT
    health = (engine.health_path or HEALTH_PATH, port)
    return Container(
        name="engine",
        image=engine.image or "",
        args=tuple(engine.args),
        resources=spec.resources,
        mounts=MOUNTS,
        env=(
            ("MODEL_PATH", model_path(served_name)),
            ("MODEL_NAME", served_name),
            ("HOME", "/tmp"),
            ("HF_HUB_OFFLINE", "1"),
        ),
        devices=devices,
        extra={
            **({"command": list(engine.command)} if engine.command else {}),
            "ports": serving_ports(port),
            "lifecycle": before_stop(),
            **probes(health, health, health),
        },
    )
