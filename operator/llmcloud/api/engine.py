"""What runs a model: which program, and what it is told beyond what this project tells it."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import LIST_ATOMIC, rules

EngineName = Literal["auto", "vllm", "transformers", "custom"]
Argument = Annotated[str, StringConstraints(max_length=1024)]
HttpPath = Annotated[str, StringConstraints(max_length=256, pattern=r"^/[-A-Za-z0-9._~/]*$")]

_OURS: Final = (
    "model|served-model-name|host|port|uds|root-path|api-key|ssl-.*|config|grpc.*|headless|"
    "nnodes|node-rank|master-addr|master-port|load-format|shutdown-timeout|lora-modules|"
    "trust-remote-code|middleware|worker-cls|worker-extension-cls|logits-processors|.*-plugin"
)
"""Options of vLLM that this project sets, or that run code which came with the model or the user's
arguments. vLLM takes underscores for hyphens."""
_REFUSED: Final = f"^(--({_OURS.replace('-', '[-_]')})|-[nr])(=.*)?$"


class Engine(ApiModel):
    """What runs the model."""

    name: EngineName = Field(
        default="auto",
        description="vllm: needs accelerators; transformers: also runs on CPUs, embeds and "
        "classifies; custom: an image of yours. auto: vllm for models that generate text if "
        "there are accelerators, transformers for all others.",
    )
    args: list[Argument] = Field(
        default=[],
        description="vllm: added to its command line, after ours; media come as data: URLs, "
        "unless --allowed-media-domains names hosts to fetch from. custom: the container's "
        "arguments; $(MODEL_PATH) and $(MODEL_NAME) stand for the model's folder and what "
        "clients ask for.",
        max_length=64,
        json_schema_extra=LIST_ATOMIC,
    )
    image: str | None = Field(
        default=None,
        description="custom: serves OpenAI's paths as a user without rights, on a read-only "
        "root; /tmp and /scratch can be written.",
        min_length=1,
        max_length=512,
        pattern=r"^[^\s]+$",
    )
    command: list[Argument] | None = Field(
        default=None,
        description="custom: instead of the image's entry point.",
        min_length=1,
        max_length=64,
        json_schema_extra=LIST_ATOMIC,
    )
    port: int | None = Field(
        default=None, description="custom: where it serves; absent: 8000.", ge=1024, le=65535
    )
    health_path: HttpPath | None = Field(
        default=None,
        description="custom: answers 200 once, and as long as, it can serve; absent: /health.",
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(self.name == 'custom') == has(self.image)",
                "image belongs to engine custom, which needs it: set it there only",
            ),
            (
                "self.name == 'custom' || "
                "!(has(self.command) || has(self.port) || has(self.healthPath))",
                "command, port and healthPath are for engine custom: remove them, or set name to "
                "custom",
            ),
            (
                "self.name in ['vllm', 'custom'] || size(self.args) == 0",
                "args are for engines vllm and custom: remove them, or set name",
            ),
            (
                f"self.name != 'vllm' || self.args.all(a, !a.matches('{_REFUSED}'))",
                "args has an option that is set for you, or that runs code of the "
                "model: remove it, or bring an image by engine custom",
            ),
            (
                "!has(self.port) || self.port != 9090",
                "port 9090 is taken by reports: choose another",
            ),
        )
    )
