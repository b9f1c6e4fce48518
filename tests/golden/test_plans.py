"""The exact YAML that users get: plans as files, so that reviewers read manifests.

A change of the plans fails here until the files are written anew on purpose:
`pytest tests/golden --update-golden`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from llmcloud.api.contract import ENV_AUTHORITIES
from llmcloud.api.names import ANNOTATION_AUTHORITIES
from llmcloud.explain import (
    DEFAULTS,
    plan_document,
    plan_of,
    read_catalogue,
    read_nodes,
    read_owners,
)
from llmcloud.plan.model import Owner, Plan

HERE = Path(__file__).parent
VALUES = HERE.parents[1] / "charts" / "llmcloud" / "values.yaml"
CASES = sorted([*(HERE.parents[1] / "examples").glob("*.yaml"), *(HERE / "cases").glob("*.yaml")])


def planned(case: Path, authorities: str = "") -> Iterator[tuple[Owner, Plan]]:
    """The plans of all objects of a file."""
    sources = list(yaml.safe_load_all(case.read_text()))
    owners, nodes = read_owners(sources), read_nodes(sources)
    defaults = replace(DEFAULTS, catalogue=read_catalogue(VALUES), authorities=authorities)
    for owner in owners:
        yield owner, plan_of(owner, owners, nodes, defaults)


def explained(case: Path) -> str:
    """The plans of all objects of a file, as YAML documents."""
    documents = [
        {"object": f"{owner.kind} {owner.namespace}/{owner.name}", "plan": plan_document(plan)}
        for owner, plan in planned(case)
    ]
    return yaml.dump_all(documents, Dumper=PlainDumper, sort_keys=False, width=100)


class PlainDumper(yaml.SafeDumper):
    """YAML without anchors: every document is read on its own."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_plans_of(case: Path, update_golden: bool) -> None:
    expected = HERE / "expected" / case.name
    text = explained(case)
    if update_golden:
        expected.write_text(text)
    assert expected.read_text() == text


def test_authorities_of_the_installation_reach_every_container_of_every_pod() -> None:
    containers = 0
    for case in CASES:
        for owner, plan in planned(case, "PEM"):
            for child in plan.applies:
                if "template" not in child.get("spec", {}):
                    continue
                template = child["spec"]["template"]
                assert template["metadata"]["annotations"][ANNOTATION_AUTHORITIES] == "PEM"
                (volume,) = [v for v in template["spec"]["volumes"] if v["name"] == "authorities"]
                (item,) = volume["downwardAPI"]["items"]
                assert ANNOTATION_AUTHORITIES in item["fieldRef"]["fieldPath"]
                spec = template["spec"]
                for container in (*spec.get("initContainers", ()), *spec["containers"]):
                    env = {one["name"]: one.get("value") for one in container["env"]}
                    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
                    told = f"{mounts['authorities']}/{item['path']}"
                    assert env[ENV_AUTHORITIES] == told, (owner.name, container["name"])
                    containers += 1
    assert containers > 50


def test_no_expectation_is_without_its_case() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert sorted(path.name for path in (HERE / "expected").iterdir()) == sorted(names)
