"""Selection by labels, as Kubernetes has it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from llmcloud.api.base import ApiModel
from llmcloud.api.common import LIST_ATOMIC, rules

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[
    str,
    StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"),
]


class LabelExpression(ApiModel):
    """One requirement on a label."""

    key: LabelKey = Field(description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How the label's value relates to values."
    )
    values: list[LabelValue] = Field(
        default=[],
        description="For In and NotIn; empty otherwise.",
        max_length=32,
        json_schema_extra=LIST_ATOMIC,
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(self.operator in ['In', 'NotIn']) == (size(self.values) > 0)",
                "In and NotIn need values, Exists and DoesNotExist take none: correct values",
            )
        )
    )

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet it; NotIn holds without the label, as in Kubernetes."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


class LabelSelector(ApiModel):
    """Objects by their labels; all requirements must hold."""

    match_labels: dict[str, LabelValue] = Field(
        default={}, description="Labels that an object must have.", max_length=32
    )
    match_expressions: list[LabelExpression] = Field(
        default=[],
        description="Further requirements on labels.",
        max_length=16,
        json_schema_extra=LIST_ATOMIC,
    )

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with `labels` is selected; an empty selector selects everything."""
        return self.match_labels.items() <= labels.items() and all(
            expression.holds(labels) for expression in self.match_expressions
        )
