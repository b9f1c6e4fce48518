"""A prompt that is kept with a deployment, so that clients send their input only."""

from typing import Annotated, Final

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import rules

MOST_PLACES: Final = 8
PromptText = Annotated[str, StringConstraints(max_length=16384)]


class Prompt(ApiModel):
    """A prompt around what clients send, served as a model of its own."""

    name: str = Field(
        description="Served as SERVED_MODEL_NAME/name.",
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$",
    )
    system: PromptText = Field(default="", description="System message; empty: none.")
    user: PromptText = Field(
        default="{input}",
        description="The last user message; {input} stands for what the client sent.",
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.user.contains('{input}')", "user must say where the input goes: add {input}"),
            (
                f"self.user.split('{{input}}').size() <= {MOST_PLACES + 1}",
                f"user may repeat the input {MOST_PLACES} times at most: remove some {{input}}",
            ),
        )
    )
