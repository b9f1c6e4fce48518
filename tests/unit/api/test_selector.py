"""Labels are selected as Kubernetes selects them."""

from typing import Any

import pytest

from llmcloud.api.selector import LabelSelector

LABELS = {"team": "a", "tier": "prod"}


def expression(operator: str, key: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {"team": "a"}}, True),
        ({"matchLabels": {"team": "a", "tier": "test"}}, False),
        ({"matchLabels": {"absent": ""}}, False),
        (expression("In", "team", "a", "b"), True),
        (expression("In", "team", "b"), False),
        (expression("In", "absent", "a"), False),
        (expression("NotIn", "team", "b"), True),
        (expression("NotIn", "team", "a"), False),
        (expression("NotIn", "absent", "a"), True),
        (expression("Exists", "team"), True),
        (expression("Exists", "absent"), False),
        (expression("DoesNotExist", "team"), False),
        (expression("DoesNotExist", "absent"), True),
        ({"matchLabels": {"team": "a"}, **expression("Exists", "absent")}, False),
    ],
)
def test_what_is_selected(selector: dict[str, Any], selected: bool) -> None:
    assert LabelSelector.model_validate(selector).selects(LABELS) is selected
