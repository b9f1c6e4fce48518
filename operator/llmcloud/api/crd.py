"""CustomResourceDefinitions from the pydantic models.

A structural schema is a small dialect: references are inlined, `X | None` becomes X, defaults
lose their nulls, a constant becomes an enum of one. What is immutable follows from each
specification's `mutable` set, as a rule on the parent, so that unsetting and setting again is
refused too.
"""

from typing import Any, Final

from pydantic import BaseModel

from llmcloud.api.kinds import KINDS, KindDefinition
from llmcloud.api.names import GROUP, MANAGED_BY, VERSION

NAME_LENGTH: Final = 46
"""Longest name of an object, so that every child's name fits 63 characters."""

_DROPPED = frozenset({"title", "$defs", "discriminator"})


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        return _inline({**target, **{k: v for k, v in node.items() if k != "$ref"}}, definitions)
    if "anyOf" in node:
        (only,) = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
        rest = {k: v for k, v in node.items() if k != "anyOf"}
        return _inline({**only, **rest}, definitions)
    result = {
        key: (
            {name: _inline(schema, definitions) for name, schema in value.items()}
            if key == "properties"
            else _default(value)
            if key == "default"
            else _inline(value, definitions)
        )
        for key, value in node.items()
        if key not in _DROPPED and not (key == "default" and value is None)
    }
    if "const" in result:
        result["enum"] = [result.pop("const")]
    return result


def _default(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _default(item) for key, item in value.items() if item is not None}
    return value


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The structural OpenAPI v3 schema of a model."""
    schema = model.model_json_schema(by_alias=True)
    inlined: dict[str, Any] = _inline(schema, schema.get("$defs", {}))
    return inlined


def _immutability(definition: KindDefinition, spec: dict[str, Any]) -> list[dict[str, str]]:
    rules = []
    for name, schema in spec["properties"].items():
        if name in definition.mutable:
            continue
        always_set = name in spec.get("required", []) or "default" in schema
        rule = (
            f"self.{name} == oldSelf.{name}"
            if always_set
            else f"has(self.{name}) == has(oldSelf.{name}) "
            f"&& (!has(self.{name}) || self.{name} == oldSelf.{name})"
        )
        message = f"spec.{name} is immutable: create a new {definition.kind} instead"
        rules.append({"rule": rule, "message": message})
    return rules


def _without_defaults(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_defaults(item) for item in node]
    if isinstance(node, dict):
        return {key: _without_defaults(item) for key, item in node.items() if key != "default"}
    return node


def _status_schema(definition: KindDefinition) -> dict[str, Any]:
    # A default inside status would come back on every read and look like a change.
    schema = _without_defaults(structural_schema(definition.status))
    waiting = {
        "status": "Unknown",
        "reason": "Pending",
        "message": "Waiting for the operator's first look",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
        "observedGeneration": 0,
    }
    conditions = [{"type": str(type_), **waiting} for type_ in definition.conditions]
    return {**schema, "default": {"conditions": conditions}}


def _root_schema(definition: KindDefinition) -> dict[str, Any]:
    spec = structural_schema(definition.spec)
    rules = spec.get("x-kubernetes-validations", []) + _immutability(definition, spec)
    if rules:
        spec["x-kubernetes-validations"] = rules
    name_rule = {
        "rule": f"size(self.metadata.name) <= {NAME_LENGTH} && "
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": f"metadata.name must be at most {NAME_LENGTH} lower-case letters, digits and "
        "dashes and begin with a letter, because the names of pods are made of it: choose "
        "another name",
    }
    return {
        "type": "object",
        "description": definition.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _status_schema(definition),
        },
        "x-kubernetes-validations": [name_rule],
    }


def _version(definition: KindDefinition) -> dict[str, Any]:
    subresources: dict[str, Any] = {"status": {}}
    if definition.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root_schema(definition)},
        "subresources": subresources,
        "additionalPrinterColumns": [
            {
                "name": column.name,
                "type": column.type,
                "jsonPath": column.path,
                **({"priority": 1} if column.wide else {}),
            }
            for column in definition.columns
        ],
    }


def custom_resource_definition(definition: KindDefinition) -> dict[str, Any]:
    """The CRD of one kind, as `kubectl apply` takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{definition.kind.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/part-of": MANAGED_BY},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": str(definition.kind),
                "listKind": f"{definition.kind}List",
                "plural": definition.kind.plural,
                "singular": definition.kind.lower(),
                "shortNames": [definition.short_name],
                "categories": ["llm"],
            },
            "versions": [_version(definition)],
        },
    }


def all_definitions() -> list[dict[str, Any]]:
    """The CRDs of all kinds."""
    return [custom_resource_definition(definition) for definition in KINDS.values()]
