"""From pydantic to a structural schema."""

from typing import Literal

import pytest
from pydantic import Field

from llmcloud.api.base import ApiModel, canonical_json, digest
from llmcloud.api.common import exactly_one_of
from llmcloud.api.crd import custom_resource_definition, structural_schema
from llmcloud.api.kinds import KINDS
from llmcloud.api.names import Kind
from llmcloud.plan.model import Manifest


class Inner(ApiModel):
    """An inner model."""

    only: Literal["one"] = Field(default="one", description="A constant.")
    count_seconds: int | None = Field(default=None, description="A time.", ge=1)


class Outer(ApiModel):
    """An outer model."""

    inner: Inner = Field(default=Inner(), description="What it is for here.")
    maybe: Inner | None = Field(default=None, description="Perhaps.")
    many: dict[str, int] = Field(default={}, description="Many.", max_length=3)


def walk(node: object) -> list[Manifest]:
    if isinstance(node, list):
        return [found for item in node for found in walk(item)]
    if isinstance(node, dict):
        return [node, *(found for item in node.values() for found in walk(item))]
    return []


def test_references_are_inlined_and_keep_the_words_of_the_field() -> None:
    schema = structural_schema(Outer)
    assert schema["properties"]["inner"]["description"] == "What it is for here."
    assert set(schema["properties"]["inner"]["properties"]) == {"only", "countSeconds"}


def test_what_may_be_absent_is_optional_and_has_no_default() -> None:
    maybe = structural_schema(Outer)["properties"]["maybe"]
    assert maybe["type"] == "object"
    assert "default" not in maybe
    assert "required" not in structural_schema(Outer)


def test_defaults_lose_their_nulls() -> None:
    assert structural_schema(Outer)["properties"]["inner"]["default"] == {"only": "one"}


def test_a_constant_is_an_enum_of_one() -> None:
    only = structural_schema(Inner)["properties"]["only"]
    assert (only["type"], only["enum"]) == ("string", ["one"])


def test_a_map_is_bounded() -> None:
    many = structural_schema(Outer)["properties"]["many"]
    assert (many["maxProperties"], many["additionalProperties"]) == (3, {"type": "integer"})


def test_a_union_is_exactly_one_of_its_members() -> None:
    rule, message = exactly_one_of("a", "b")
    assert rule == "(has(self.a) ? 1 : 0) + (has(self.b) ? 1 : 0) == 1"
    assert message == "set exactly one of a, b"


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_is_left_that_a_structural_schema_refuses(kind: Kind) -> None:
    definition = custom_resource_definition(KINDS[kind])
    for node in walk(definition):
        assert not node.keys() & {"$ref", "$defs", "anyOf", "oneOf", "allOf", "const"}
        assert node.get("type") != "null"
        assert None not in node.values()


def test_canonical_json_is_one_text_per_value() -> None:
    assert canonical_json({"b": [1, 2], "a": "\u00e9"}) == b'{"a":"\\u00e9","b":[1,2]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({}) != digest([])
    assert len(digest(1)) == 71


def test_unknown_members_are_ignored_and_none_is_not_written() -> None:
    inner = Inner.model_validate({"only": "one", "fromTheFuture": True})
    assert inner.wire() == {"only": "one"}
