"""What operator and gateway asked of the API server, against what the chart lets them do."""

import json
from typing import Any

import pytest

from tests.localcluster.cluster import Cluster
from tests.support.audit import Request, requests
from tests.support.install import NAMESPACE

ACCOUNTS = {
    "llmcloud-operator": [("clusterrole", "llmcloud-operator"), ("role", "llmcloud-operator-home")],
    "llmcloud-gateway": [("role", "llmcloud-gateway"), ("clusterrole", "llmcloud-gateway-keys")],
}

Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""


def granted(cluster: Cluster, kind: str, name: str) -> set[Right]:
    """Every right of a role, one by one."""
    scope = ["-n", NAMESPACE] if kind == "role" else []
    role: dict[str, Any] = json.loads(cluster.kubectl("get", kind, name, *scope, "-o", "json"))
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(seen: list[Request]) -> set[Right]:
    """The rights that requests needed; an apply that made its object needed `create` too."""
    rights = set()
    for r in seen:
        resource = f"{r.resource}/{r.subresource}" if r.subresource else r.resource
        rights.add((r.group, resource, r.verb))
        if r.verb == "patch" and r.code == 201:
            rights.add((r.group, resource, "create"))
    return rights


@pytest.mark.parametrize("account", ACCOUNTS)
def test_every_request_is_allowed_and_every_right_is_used(cluster: Cluster, account: str) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    seen = [r for r in requests(cluster.audit_log) if r.user == user]
    assert seen
    assert [r for r in seen if r.decision != "allow"] == []
    rights = set().union(*(granted(cluster, kind, name) for kind, name in ACCOUNTS[account]))
    assert rights - used(seen) == set()
    assert not {verb for _, _, verb in rights} & {"*", "escalate", "bind", "impersonate"}
    assert "secrets" not in {resource for _, resource, _ in rights}
