"""The rights granted are those that the operator and the gateway use, and no others.

The tables below follow the requests in llmcloud.cluster, llmcloud.control and hints.py, and the
gateway's two lists and watches.
"""

from collections import defaultdict

import pytest

from llmcloud.api.names import GROUP, Kind
from llmcloud.hints import CHILDREN
from tests.chart.chart import NAMESPACE, Object, Values, find, render

TEAM: Values = {"watchNamespace": "team"}
READ_OBJECTS = {f"{GROUP}/{kind.plural}": {"get", "list", "watch"} for kind in Kind}
WORK = {
    **READ_OBJECTS,
    f"{GROUP}/objectstores": {"get", "list", "watch", "patch"},
    **{f"{GROUP}/{kind.plural}/status": {"patch"} for kind in Kind},
    "batch/jobs": {"list", "watch", "create", "patch", "delete"},
    "apps/deployments": {"get", "list", "watch", "create", "patch", "delete"},
    "apps/statefulsets": {"list", "watch", "create", "patch", "delete"},
    "networking.k8s.io/networkpolicies": {"get", "create", "patch"},
    "/pods": {"list", "watch", "patch"},
    "policy/poddisruptionbudgets": {"get", "create", "patch"},
    "/services": {"get", "create", "patch"},
    "/events": {"list"},
    "events.k8s.io/events": {"create"},
    "kueue.x-k8s.io/workloads": {"list"},
    "coordination.k8s.io/leases": {"list", "watch"},
}
HOME = {
    "coordination.k8s.io/leases": {"create"},
    "coordination.k8s.io/leases llmcloud-operator": {"get", "update"},
    "/configmaps llmcloud-routes": {"get", "create", "patch"},
}
WATCHED_BY_KOPF = {
    *(f"{GROUP}/{kind.plural}" for kind in Kind),
    *(f"{group}/{plural}" for group, _, plural, _ in CHILDREN),
    "coordination.k8s.io/leases",
}


def granted(role: Object) -> dict[str, set[str]]:
    """Verbs by "group/resource" or "group/resource name"."""
    verbs: dict[str, set[str]] = defaultdict(set)
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    verbs[f"{group}/{resource} {name}".strip()] |= set(rule["verbs"])
    return dict(verbs)


def test_the_operator_of_a_cluster() -> None:
    objects = render()
    nodes = {"/nodes": {"list"}}
    assert granted(find(objects, "ClusterRole", "llmcloud-operator")) == {**WORK, **nodes}
    assert granted(find(objects, "Role", "llmcloud-operator-home")) == HOME


def test_the_operator_of_a_namespace_has_no_rights_elsewhere() -> None:
    objects = render(TEAM)
    assert not {"ClusterRole", "ClusterRoleBinding"} & {o["kind"] for o in objects}
    work = find(objects, "Role", "llmcloud-operator")
    assert work["metadata"]["namespace"] == "team"
    assert granted(work) == WORK
    home = granted(find(objects, "Role", "llmcloud-operator-home"))
    watched = {resource: {"list", "watch"} for resource in WATCHED_BY_KOPF}
    leases = {"coordination.k8s.io/leases": {"create", "list", "watch"}}
    assert home == {**HOME, **watched, **leases}


def test_the_operator_of_its_own_namespace_needs_no_second_watch() -> None:
    objects = render({"watchNamespace": NAMESPACE})
    assert granted(find(objects, "Role", "llmcloud-operator-home")) == HOME


@pytest.mark.parametrize(("values", "scope"), [({}, "ClusterRole"), (TEAM, "Role")])
def test_the_gateway_sees_its_routes_and_the_keys_only(values: Values, scope: str) -> None:
    objects = render(values)
    routes = find(objects, "Role", "llmcloud-gateway")
    assert granted(routes) == {"/configmaps llmcloud-routes": {"list", "watch"}}
    keys = find(objects, scope, "llmcloud-gateway-keys")
    assert keys["metadata"].get("namespace") == values.get("watchNamespace")
    assert granted(keys) == {f"{GROUP}/llmaccesskeys": {"list", "watch"}}


@pytest.mark.parametrize("values", [{}, TEAM], ids=["cluster", "namespace"])
def test_no_wildcards_no_secrets_and_every_role_is_bound(values: Values) -> None:
    objects = render(values)
    roles = [o for o in objects if o["kind"] in ("Role", "ClusterRole")]
    for role in roles:
        for rule in role["rules"]:
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not words & {"*", "secrets", "customresourcedefinitions", "pods/exec"}
        binding = find(objects, f"{role['kind']}Binding", role["metadata"]["name"])
        assert binding["metadata"].get("namespace") == role["metadata"].get("namespace")
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        (subject,) = binding["subjects"]
        assert find(objects, "ServiceAccount", subject["name"])
        assert subject["namespace"] == NAMESPACE
