"""The taste of the API: what every field, list, union and condition must have."""

from collections.abc import Iterator
from typing import Any

import pytest

from llmcloud.api.crd import custom_resource_definition
from llmcloud.api.kinds import KINDS
from llmcloud.api.names import Kind

Schema = dict[str, Any]
Field = tuple[str, Schema]

EVERY_KIND = pytest.mark.parametrize("kind", list(Kind))


def version_of(kind: Kind) -> Schema:
    version: Schema
    (version,) = custom_resource_definition(KINDS[kind])["spec"]["versions"]
    return version


def root_of(kind: Kind) -> Schema:
    root: Schema = version_of(kind)["schema"]["openAPIV3Schema"]
    return root


def nodes(schema: Schema, path: str) -> Iterator[Field]:
    """Every schema node below `schema`: properties, items, and values of maps."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def fields(kind: Kind, *parts: str) -> list[Field]:
    properties = root_of(kind)["properties"]
    return [
        field for part in parts or ("spec", "status") for field in nodes(properties[part], part)
    ]


@EVERY_KIND
def test_every_field_is_described_in_a_sentence(kind: Kind) -> None:
    for path, field in fields(kind):
        if path.endswith(("[]", "{}")):
            continue
        assert field.get("description", "").endswith("."), path


@EVERY_KIND
def test_strings_lists_and_maps_are_bounded(kind: Kind) -> None:
    for path, field in fields(kind):
        match field["type"]:
            case "string":
                assert field.keys() & {"maxLength", "enum", "format"}, path
            case "array":
                assert "maxItems" in field, path
            case "object" if "additionalProperties" in field:
                assert "maxProperties" in field, path


@EVERY_KIND
def test_numbers_that_users_write_are_bounded(kind: Kind) -> None:
    for path, field in fields(kind, "spec"):
        if field["type"] in ("integer", "number"):
            assert {"minimum", "maximum"} <= field.keys(), path


@EVERY_KIND
def test_every_list_says_how_it_is_merged(kind: Kind) -> None:
    for path, field in fields(kind):
        if field["type"] != "array":
            continue
        assert field.get("x-kubernetes-list-type") in ("map", "atomic", "set"), path
        if field["x-kubernetes-list-type"] == "map":
            keys = field["x-kubernetes-list-map-keys"]
            assert set(keys) <= set(field["items"]["required"]), path


@EVERY_KIND
def test_conditions_are_a_map_by_type_and_begin_with_ready_unknown(kind: Kind) -> None:
    status = root_of(kind)["properties"]["status"]
    conditions = status["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    first, *_ = status["default"]["conditions"]
    assert (first["type"], first["status"]) == ("Ready", "Unknown")
    members = set(conditions["items"]["properties"])
    assert all(set(condition) <= members for condition in status["default"]["conditions"])


@EVERY_KIND
def test_inside_status_nothing_has_a_default(kind: Kind) -> None:
    inside = [(path, field) for path, field in fields(kind, "status") if path != "status"]
    assert [path for path, field in inside if "default" in field] == []


@EVERY_KIND
def test_status_is_a_subresource_and_is_required_of_nobody(kind: Kind) -> None:
    assert version_of(kind)["subresources"]["status"] == {}
    assert root_of(kind)["required"] == ["spec"]


@EVERY_KIND
def test_a_field_is_required_or_optional_not_both(kind: Kind) -> None:
    for path, field in fields(kind, "spec"):
        for name in field.get("required", []):
            assert "default" not in field["properties"][name], f"{path}.{name}"


@EVERY_KIND
def test_what_is_not_mutable_has_its_rule_on_the_parent(kind: Kind) -> None:
    spec = root_of(kind)["properties"]["spec"]
    rules = {rule["rule"]: rule["message"] for rule in spec["x-kubernetes-validations"]}
    assert KINDS[kind].mutable <= set(spec["properties"])
    for name, field in spec["properties"].items():
        equal = f"self.{name} == oldSelf.{name}"
        optional = name not in spec.get("required", []) and "default" not in field
        whole = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {equal})"
        rule = whole if optional else equal
        assert (rule in rules) is (name not in KINDS[kind].mutable), name
        assert rule not in rules or f"spec.{name}" in rules[rule]


@EVERY_KIND
def test_every_rule_has_a_message_for_people(kind: Kind) -> None:
    root = root_of(kind)
    for path, field in [("", root), *fields(kind)]:
        for rule in field.get("x-kubernetes-validations", []):
            assert rule["message"], path
            assert "self" not in rule["message"], path


UNIONS = [
    (Kind.OBJECT_STORE, ["spec", "credentials"], ("secretRef", "aws", "gcp", "azure")),
    (Kind.TRAINING_JOB, ["spec", "hyperparameters"], ("maxSteps", "epochs")),
    (Kind.TRAINING_JOB, ["spec", "model"], ("architecture", "hub", "store", "trainingJob")),
    (Kind.DEPLOYMENT, ["spec", "model"], ("store", "trainingJob")),
    (Kind.ACCESS_KEY, ["spec", "deployments"], ("names", "selector")),
]


@pytest.mark.parametrize(("kind", "path", "members"), UNIONS, ids=lambda value: str(value))
def test_unions_are_exactly_one_of(kind: Kind, path: list[str], members: tuple[str, ...]) -> None:
    node = root_of(kind)
    for name in path:
        node = node["properties"][name]
    messages = [rule["message"] for rule in node["x-kubernetes-validations"]]
    assert f"set exactly one of {', '.join(members)}" in messages
    assert not set(members) & set(node.get("required", []))


@EVERY_KIND
def test_the_name_of_an_object_leaves_room_for_its_childrens(kind: Kind) -> None:
    (rule,) = root_of(kind)["x-kubernetes-validations"]
    assert "size(self.metadata.name) <= 46" in rule["rule"]


@EVERY_KIND
def test_kubectl_finds_it(kind: Kind) -> None:
    names = custom_resource_definition(KINDS[kind])["spec"]["names"]
    assert names["categories"] == ["llm"]
    assert names["shortNames"]
    columns = {column["name"] for column in version_of(kind)["additionalPrinterColumns"]}
    assert {"Age", "Reason", "Message"} <= columns


def test_what_can_be_scaled_has_the_scale_subresource_and_a_default() -> None:
    version = version_of(Kind.DEPLOYMENT)
    assert set(version["subresources"]["scale"]) == {
        "specReplicasPath",
        "statusReplicasPath",
        "labelSelectorPath",
    }
    replicas = root_of(Kind.DEPLOYMENT)["properties"]["spec"]["properties"]["replicas"]
    assert "default" in replicas
