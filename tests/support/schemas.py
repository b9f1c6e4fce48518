"""JSON schemas of Kubernetes' objects for kubeconform, from the API server's own source.

The Go module that the API server is built from carries its OpenAPI document, so no schema is
fetched from anywhere else.
"""

import json
from pathlib import Path
from typing import Any

from tests.localcluster.tools import TOOLS, module_folder

Schema = dict[str, Any]


def _openapi() -> Schema:
    folder = module_folder(TOOLS["kube-apiserver"], "k8s.io/kubernetes")
    document: Schema = json.loads((folder / "api/openapi-spec/swagger.json").read_text())
    return document


def _strict(node: Any) -> Any:
    """No member but those that are named."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: _strict(value) for key, value in node.items()}
    if "properties" in result and "additionalProperties" not in result:
        result["additionalProperties"] = False
    if result.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    return result


def write_schemas(folder: Path) -> str:
    """Write one schema for each kind; the template that kubeconform finds them by."""
    definitions = _openapi()["definitions"]
    quantity = "io.k8s.apimachinery.pkg.api.resource.Quantity"
    shared = {name: _strict(schema) for name, schema in definitions.items()}
    shared[quantity] = {"type": ["number", "string"]}
    (folder / "_definitions.json").write_text(json.dumps({"definitions": shared}))
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            group = kind["group"].split(".")[0]
            version = f"{group}-{kind['version']}" if group else kind["version"]
            reference = {"$ref": f"_definitions.json#/definitions/{name}"}
            (folder / f"{kind['kind'].lower()}-{version}.json").write_text(json.dumps(reference))
    return f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
