"""Whether a key is in force, and when that is looked at again."""

from typing import Any

import pytest

from llmcloud.api.names import Kind
from llmcloud.plan.accesskey import KeyWorld, plan_access_key
from llmcloud.plan.model import Plan, timestamp
from tests.support.worlds import DEFAULTS, NOW, at, by_type, make_owner, said


def plan(**spec: Any) -> Plan:
    return plan_access_key(KeyWorld(make_owner(Kind.ACCESS_KEY, spec=spec), NOW), DEFAULTS)


@pytest.mark.parametrize(
    ("spec", "ready", "message"),
    [
        ({}, ("True", "Active"), "The key opens every LLMDeployment of this namespace"),
        ({"deployments": {"names": ["a", "b"]}}, ("True", "Active"), "the LLMDeployments a, b"),
        (
            {"deployments": {"selector": {"matchLabels": {"a": "b"}}}}, ("True", "Active"),
            "that spec.deployments.selector selects",
        ),
        ({"expiresAt": timestamp(at(60))}, ("True", "Active"), "until 2026-05-01T12:01:00Z"),
        ({"expiresAt": timestamp(NOW)}, ("False", "Expired"), "set a later spec.expiresAt"),
        ({"disabled": True}, ("False", "Disabled"), "set spec.disabled to false"),
        ({"sha256": "x"}, ("False", "SpecInvalid"), "spec.sha256"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_key(spec: dict[str, Any], ready: tuple[str, str], message: str) -> None:
    planned = plan(**spec)
    assert said(planned.status) == ready
    conditions = by_type(planned.status)
    assert message in conditions["Ready"]["message"]
    assert conditions["Stalled"]["status"] == ("False" if ready[0] == "True" else "True")


def test_a_key_is_looked_at_again_when_it_expires() -> None:
    assert plan(expiresAt=timestamp(at(60))).requeue_seconds == 60
    assert plan(expiresAt=timestamp(at(60)), disabled=True).requeue_seconds is None
    assert plan(expiresAt=timestamp(at(-1))).requeue_seconds is None
    assert plan().requeue_seconds is None
