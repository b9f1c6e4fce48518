"""Arguments of the Trainer that a job adds: refused where the Trainer does not know them so.

The operator has refused those that are not the user's to set.
"""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from transformers import TrainingArguments

from llmcloud.cloud.errors import ConfigurationInvalid

CLOSE_NAMES = 3


def check_extra(extra: Mapping[str, Any]) -> None:
    """Raise ConfigurationInvalid for a name or a type that the Trainer does not know."""
    known = [field.name for field in fields(TrainingArguments) if field.init]
    types = get_type_hints(TrainingArguments) if extra else {}
    for name, value in extra.items():
        if name not in known:
            close = get_close_matches(name, known, CLOSE_NAMES)
            remedy = f"did you mean {' or '.join(close)}?" if close else "remove it."
            raise ConfigurationInvalid(
                f"spec.hyperparameters.extra.{name} is no argument of transformers' Trainer: "
                f"{remedy}"
            )
        try:
            wanted = ConfigDict(arbitrary_types_allowed=True)
            TypeAdapter(types[name], config=wanted).validate_python(value)
        except ValidationError as error:
            said = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise ConfigurationInvalid(
                f"spec.hyperparameters.extra.{name}: {said}; correct it in a new job."
            ) from error
