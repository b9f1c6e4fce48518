"""How a changed deployment comes in, and what its status tells of it."""

from typing import Annotated

from pydantic import ConfigDict, Field

from llmcloud.api.base import ApiModel
from llmcloud.api.common import LIST_SET, Digest, rules

Percent = Annotated[int, Field(ge=1, le=99)]


class Abort(ApiModel):
    """When a canary is rolled back."""

    error_percent: int = Field(
        default=1,
        description="More of its requests fail than of the stable ones, by so many in a hundred.",
        ge=0,
        le=100,
    )
    time_to_first_token_percent: int = Field(
        default=50,
        description="Its first tokens take so much longer than the stable ones' on average.",
        ge=1,
        le=10000,
    )
    min_requests: int = Field(
        default=50,
        description="It is judged from so many requests on, or by those of four stepSeconds.",
        ge=1,
        le=1000000,
    )


class Canary(ApiModel):
    """A change serves a share of the requests before it serves all."""

    steps: list[Percent] = Field(
        default=[10, 50],
        description="Shares of the requests in percent, rising; then all of them.",
        min_length=1,
        max_length=10,
        json_schema_extra=LIST_SET,
    )
    step_seconds: int = Field(
        default=300, description="How long each step lasts at least.", ge=1, le=86400
    )
    abort: Abort = Field(default=Abort(), description="When it is rolled back.")

    model_config = ConfigDict(
        json_schema_extra=rules(("self.steps.isSorted()", "steps must rise: sort the shares"))
    )


class Rollout(ApiModel):
    """How a changed model or specification comes in."""

    canary: Canary | None = Field(
        default=None,
        description="Tried on a share of the requests; absent: replicas are replaced one by one.",
    )


class Rejected(ApiModel):
    """What was tried and rolled back; it is not tried again until something changes."""

    revision: str = Field(description="Of the replicas.", max_length=16)
    digest: Digest | None = Field(default=None, description="Of the model's files.")
    training_job: str | None = Field(
        default=None, description="The LLMTrainingJob that made the model.", max_length=63
    )
    message: str = Field(description="Why.", max_length=1024)
    time: str = Field(description="When, RFC 3339.", max_length=64)
    generation: int | None = Field(
        default=None,
        description="Of the specification that was rejected: as long as it stands, a model that "
        "was new is not tried with other images either.",
    )


class CanaryStatus(ApiModel):
    """The revision that is being tried."""

    revision: str = Field(description="Of its replicas.", max_length=16)
    digest: Digest | None = Field(default=None, description="Of its model's files.")
    training_job: str | None = Field(
        default=None, description="The LLMTrainingJob that made its model.", max_length=63
    )
    weight: int = Field(description="Percent of the requests that it should get.", ge=0, le=100)
    step_start_time: str | None = Field(
        default=None,
        description="Since when this step is judged; absent: no replica of it is ready yet.",
        max_length=64,
    )
