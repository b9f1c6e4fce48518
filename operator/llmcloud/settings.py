"""Every knob of the operator, from one YAML file that the chart renders."""

import os
import socket
import ssl
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from llmcloud.plan.accelerators import Accelerator, Catalogue, Platform
from llmcloud.plan.model import PodDefaults


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class Images(_Settings):
    """Image references of the pods that the operator makes."""

    operator: str
    data: str
    runtime: str
    gateway: str
    vllm: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: list[str] = []


class Settings(_Settings):
    """What `llmcloud run --settings FILE` reads."""

    images: Images
    namespace: str = Field(description="The operator's own namespace: Lease and routes.")
    watch_namespace: str | None = Field(
        default=None, description="The one namespace to watch; absent: all."
    )
    gateway_url: str = ""
    tolerations: list[dict[str, Any]] = []
    env: dict[str, str] = Field(default={}, description="Added to every pod: proxy, mirrors.")
    platform: str = Field(default="", description="The cluster's; empty: told by its nodes.")
    platforms: dict[str, Platform] = {}
    accelerators: dict[str, Accelerator] = {}
    allowed_networks: list[IPv4Network | IPv6Network] = Field(
        default=[],
        description="What egress pods and sources of datasets may reach besides the internet.",
    )
    refused_networks: list[IPv4Network | IPv6Network] = Field(
        default=[], description="What sources may not reach though it is of the internet."
    )
    authorities: str = Field(
        default="",
        max_length=64 * 1024,
        description="Certificates (PEM) that every pod trusts besides those of its image.",
    )
    workers: int = Field(default=32, ge=1, le=64)
    resync_seconds: int = Field(default=600, ge=10)
    store_check_seconds: int = Field(default=3600, ge=30)
    port: int = Field(default=9090, description="Of /metrics and /healthz.")
    log_level: str = "INFO"

    @field_validator("authorities")
    @classmethod
    def _certificates(cls, text: str) -> str:
        if "PRIVATE KEY" in text:
            raise ValueError("holds a private key; give certificates alone")
        if text:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
            except ssl.SSLError as error:
                raise ValueError(f"is not certificates in PEM ({error.reason})") from None
        return text

    def pod_defaults(self, version: str) -> PodDefaults:
        """What plans give to every pod."""
        return PodDefaults(
            operator_image=self.images.operator,
            data_image=self.images.data,
            runtime_image=self.images.runtime,
            version=version,
            image_pull_policy=self.images.pull_policy,
            image_pull_secrets=tuple(self.images.pull_secrets),
            tolerations=tuple(self.tolerations),
            env=tuple(sorted(self.env.items())),
            gateway_url=self.gateway_url,
            store_check_seconds=self.store_check_seconds,
            catalogue=Catalogue(
                platform=self.platform,
                platforms=self.platforms,
                accelerators=self.accelerators,
            ),
            gateway_image=self.images.gateway,
            vllm_image=self.images.vllm,
            namespace=self.namespace,
            allowed_networks=tuple(str(network) for network in self.allowed_networks),
            authorities=self.authorities,
            refused_networks=tuple(str(network) for network in self.refused_networks),
        )


def load_settings(path: Path) -> Settings:
    """Read the file. Raises pydantic's ValidationError naming the field."""
    return Settings.model_validate(yaml.safe_load(path.read_text()))


def identity() -> str:
    """Who holds the Lease: the pod's name, which a restarted container keeps; else this process."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
