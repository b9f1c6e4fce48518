"""The exact YAML that users get: plans as files, so that reviewers read manifests.

A change of the plans fails here until the files are written anew on purpose:
`pytest tests/golden --update-golden`.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from llmcloud.explain import (
    DEFAULTS,
    plan_document,
    plan_of,
    read_catalogue,
    read_nodes,
    read_owners,
)

HERE = Path(__file__).parent
VALUES = HERE.parents[1] / "charts" / "llmcloud" / "values.yaml"
CASES = sorted([*(HERE.parents[1] / "examples").glob("*.yaml"), *(HERE / "cases").glob("*.yaml")])


def explained(case: Path) -> str:
    """The plans of all objects of a file, as YAML documents."""
    sources = list(yaml.safe_load_all(case.read_text()))
    owners, nodes = read_owners(sources), read_nodes(sources)
    defaults = replace(DEFAULTS, catalogue=read_catalogue(VALUES))
    documents = [
        {"object": f"{owner.kind} {owner.namespace}/{owner.name}", "plan": document}
        for owner in owners
        for document in [plan_document(plan_of(owner, owners, nodes, defaults))]
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


def test_no_expectation_is_without_its_case() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert sorted(path.name for path in (HERE / "expected").iterdir()) == sorted(names)
