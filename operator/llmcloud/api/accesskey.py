"""LLMAccessKey: who may call what, and how much. It holds a SHA-256, so it can live in Git."""

from typing import Annotated, ClassVar

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import Name, Status, exactly_one_of, rules
from llmcloud.api.leases import KeyLease
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


class KeyLimits(ApiModel):
    """How much may be called. Tokens are those of prompts and answers together."""

    requests_per_minute: int | None = Field(
        default=None, description="Requests in a minute of the clock.", ge=1, le=10**9
    )
    tokens_per_minute: int | None = Field(
        default=None, description="Tokens in a minute of the clock.", ge=1, le=10**12
    )
    tokens_per_day: int | None = Field(
        default=None, description="Tokens in a day of UTC.", ge=1, le=10**12
    )
    max_tokens: int | None = Field(
        default=None,
        description="Most tokens that one request may generate, all its choices together. A "
        "request that names none gets it, or 1024 where only a budget of tokens is set.",
        ge=1,
        le=10**9,
    )


class LLMAccessKeySpec(ApiModel):
    """Who may call what, and how much."""

    mutable: ClassVar[frozenset[str]] = frozenset(
        {"deployments", "limits", "expiresAt", "disabled"}
    )

    sha256: Sha256 = Field(
        description="SHA-256, in hexadecimal, of the key that clients send as the bearer token. "
        "`llmcloud key new` makes both and shows the key once."
    )
    deployments: AllowedDeployments | None = Field(
        default=None, description="What may be called; absent: all of this namespace."
    )
    limits: KeyLimits = Field(default=KeyLimits(), description="How much may be called.")
    expires_at: AwareDatetime | None = Field(
        default=None, description="From then on the key opens nothing; absent: it does not expire."
    )
    disabled: bool = Field(default=False, description="True: the key opens nothing.")


class KeyUsage(ApiModel):
    """What was called with the key. Some seconds of it may be lost when the operator moves."""

    requests: int = Field(default=0, description="Requests that were let in.", ge=0)
    input_tokens: int = Field(default=0, description="Tokens of prompts.", ge=0)
    output_tokens: int = Field(default=0, description="Tokens generated.", ge=0)
    last_used_time: str = Field(default="", description="When it was last used.", max_length=64)


class LLMAccessKeyStatus(Status):
    """Whether the key is in force, and what of its budgets is used."""

    usage: KeyUsage | None = Field(default=None, description="What was called, ever.")
    leases: list[KeyLease] = Field(
        default=[],
        description="What of the budgets is in the hands of each gateway.",
        max_length=256,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["gateway", "window"],
        },
    )


class AccessKeyRecord(ApiModel):
    """An LLMAccessKey as gateways know it."""

    namespace: str
    name: str
    created: str  # RFC 3339
    spec: LLMAccessKeySpec
    leases: list[KeyLease] | None = None  # None: one gateway alone has the whole budgets
