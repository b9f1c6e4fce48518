"""Models that somebody else serves: how they are reached, and what the egress pod is told."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import LIST_ATOMIC, SecretKeyReference, rules

EGRESS_KEY_FILE: Final = "/var/run/llmcloud/egress/key"
EGRESS_PORT: Final = 8000
EGRESS_REPORT_PORT: Final = 9090
"""GET /ready, /healthz and /samples (a KeySample, of tokensPerDay) of an egress pod."""
EGRESS_LEASES_FILE: Final = "/var/run/llmcloud/leases/leases"
"""EgressLeases: the pod's annotation, as the kubelet shows it to the pod."""

Spill = Literal["coldStart", "overload", "failure"]
HttpsUrl = Annotated[
    str, StringConstraints(max_length=1024, pattern=r"^https://[A-Za-z0-9.\-\[\]:]+(/[^\s?#]*)?$")
]
Word = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+$")]


class External(ApiModel):
    """A model behind somebody else's API. The key stays in this namespace."""

    provider: Literal["openai", "azure-openai", "vertex-ai", "compatible"] = Field(
        description="Whose dialect: paths, and how the key is presented."
    )
    url: HttpsUrl | None = Field(
        default=None,
        description="azure-openai: the resource; compatible: up to and with /v1. "
        "Else absent for the provider's own.",
    )
    model: str = Field(
        description="What the provider calls it; azure-openai: the name of its deployment.",
        min_length=1,
        max_length=256,
        pattern=r"^[A-Za-z0-9._:/@-]+$",
    )
    api_version: Word | None = Field(
        default=None, description="azure-openai: the api-version of every request."
    )
    project: Word | None = Field(default=None, description="vertex-ai: the project.")
    location: Word | None = Field(default=None, description="vertex-ai: the region, or global.")
    api_key_secret_ref: SecretKeyReference | None = Field(
        default=None,
        description="The key; vertex-ai: the key file of a service account, as JSON.",
    )
    tokens_per_day: int | None = Field(
        default=None,
        description="Input and output tokens per day (UTC), then 429.",
        ge=1,
        le=10**12,
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.provider == 'compatible' || has(self.apiKeySecretRef)",
                "this provider needs apiKeySecretRef: name a Secret of this namespace and its key",
            ),
            (
                "!(self.provider in ['compatible', 'azure-openai']) || has(self.url)",
                "this provider needs url: set it to its https address",
            ),
            (
                "(self.provider == 'azure-openai') == has(self.apiVersion)",
                "apiVersion belongs to azure-openai, which needs it: set it there only",
            ),
            (
                "(self.provider == 'vertex-ai') == (has(self.project) && has(self.location))",
                "project and location belong to vertex-ai, which needs both: set them there only",
            ),
        )
    )


class Fallback(ApiModel):
    """Where requests go that this deployment cannot serve."""

    external: External = Field(description="The model that answers instead.")
    when: list[Spill] = Field(
        default=["coldStart", "overload", "failure"],
        description="coldStart: held in vain while no replica was ready; overload: held in vain, "
        "or not at all, while all were full; failure: no replica gave an answer.",
        min_length=1,
        max_length=3,
        json_schema_extra=LIST_ATOMIC,
    )


class EgressTask(ApiModel):
    """What an egress pod does: present one key to one provider."""

    kind: Literal["egress"] = "egress"
    external: External
    allowed_networks: list[str] = []  # CIDRs besides the public internet
    drain_seconds: int


class EgressLease(ApiModel):
    """What one pod may spend of one day's tokens, and what it could at most be given."""

    tokens: int
    most: int


class EgressLeases(ApiModel):
    """By the day in UTC, as `leases.day_of`."""

    days: dict[str, EgressLease]
