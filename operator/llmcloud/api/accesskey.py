"""LLMAccessKey: who may call what. It holds the SHA-256 of a key, so it can live in Git."""

from typing import Annotated, ClassVar

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import Name, Status, exactly_one_of, rules
from llmcloud.api.selector import LabelSelector

Sha256 = Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9a-f]{64}$")]


class AllowedDeployments(ApiModel):
    """LLMDeployments of the key's namespace."""

    names: list[Name] | None = Field(
        default=None,
        description="By name.",
        min_length=1,
        max_length=256,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    selector: LabelSelector | None = Field(default=None, description="By label.")

    model_config = ConfigDict(json_schema_extra=rules(exactly_one_of("names", "selector")))


class LLMAccessKeySpec(ApiModel):
    """Who may call what."""

    mutable: ClassVar[frozenset[str]] = frozenset({"deployments", "expiresAt", "disabled"})

    sha256: Sha256 = Field(
        description="SHA-256, in hexadecimal, of the key that clients send as the bearer token. "
        "`llmcloud key new` makes both and shows the key once."
    )
    deployments: AllowedDeployments | None = Field(
        default=None, description="What may be called; absent: all of this namespace."
    )
    expires_at: AwareDatetime | None = Field(
        default=None, description="From then on the key opens nothing; absent: it does not expire."
    )
    disabled: bool = Field(default=False, description="True: the key opens nothing.")


class LLMAccessKeyStatus(Status):
    """Whether the key is in force."""


class AccessKeyRecord(ApiModel):
    """An LLMAccessKey as gateways know it."""

    namespace: str
    name: str
    created: str  # RFC 3339
    spec: LLMAccessKeySpec
