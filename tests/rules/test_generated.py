"""What is generated is what is committed, and what is documented is what there is."""

import re
from pathlib import Path

import pytest

from llmcloud.api.docs import api_reference
from llmcloud.api.names import Condition, Reason
from llmcloud.cli import main

ROOT = Path(__file__).parents[2]


def test_the_committed_crds_are_those_of_the_models(tmp_path: Path) -> None:
    assert main(["crds", "--directory", str(tmp_path)]) == 0
    generated = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    assert committed == generated, "run make generate"


def test_the_committed_reference_is_that_of_the_models() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == api_reference(), "run make generate"


def paragraphs() -> dict[str, str]:
    """The text below each heading of a reason in docs/conditions.md."""
    text = (ROOT / "docs" / "conditions.md").read_text()
    parts = re.split(r"^(#{2,3} .*)$", text, flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {head[4:]: body.strip() for head, body in pairs if head.startswith("### ")}


@pytest.mark.parametrize("reason", [str(reason) for reason in Reason])
def test_every_reason_has_its_paragraph(reason: str) -> None:
    assert paragraphs()[reason].endswith(".")


def test_no_paragraph_is_without_its_reason() -> None:
    assert list(paragraphs()) == list(dict.fromkeys(paragraphs()))
    assert set(paragraphs()) == {str(reason) for reason in Reason}


@pytest.mark.parametrize("name", [*Reason, *Condition])
def test_conditions_and_reasons_are_camel_case(name: str) -> None:
    assert re.fullmatch(r"([A-Z][a-z]+)+", str(name))
