"""LoRA adapters that are served beside their base model: what users ask for, what pods are told."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from llmcloud.api.base import ApiModel, digest
from llmcloud.api.location import StoreLocation

ADAPTERS_FOLDER: Final = "/var/run/llmcloud/adapters"
ADAPTERS_FILE: Final = "adapters.json"
"""The pod's annotation `ANNOTATION_ADAPTERS` as the kubelet shows it: a `WantedAdapters`, or
nothing as long as the operator has not looked at the pod."""

AdapterName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"),
]


class WantedAdapter(ApiModel):
    """One adapter, and where it lies."""

    name: AdapterName
    store: StoreLocation
    path: str
    digest: str | None = None

    @property
    def key(self) -> str:
        """Names this version of it: another place or digest is another key."""
        return digest(self.wire()).removeprefix("sha256:")[:16]


class WantedAdapters(ApiModel):
    """All adapters that a replica is to serve."""

    adapters: list[WantedAdapter] = []


class AdapterReport(ApiModel):
    """GET /adapters of a sidecar: the key of each adapter that its engine serves, and why others
    are not served."""

    loaded: dict[str, str] = {}
    failed: dict[str, Annotated[str, Field(max_length=1024)]] = {}
