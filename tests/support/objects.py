"""Valid custom resources to start from; tests change what they are about."""

import copy
from typing import Any

from llmcloud.api.names import API_VERSION, Kind

Object = dict[str, Any]


def _object(kind: Kind, namespace: str, name: str, spec: Object) -> Object:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": str(kind), "metadata": meta, "spec": spec}


def store(namespace: str, name: str = "work", **spec: Any) -> Object:
    """An S3-compatible ObjectStore that is created."""
    base = {
        "provider": "aws",
        "bucket": "bucket",
        "create": True,
        "endpoint": {"url": "http://store.example:9000"},
        "credentials": {"secretRef": {"name": "keys"}},
    }
    return _object(Kind.OBJECT_STORE, namespace, name, {**base, **spec})


def dataset(namespace: str, name: str = "text", **spec: Any) -> Object:
    """A text dataset from and to the store `work`."""
    base = {
        "type": "text",
        "sources": [{"store": {"name": "work", "path": "raw/"}}],
        "tokenizer": {"train": {"vocabularySize": 512}},
        "sequenceLength": 64,
        "output": {"store": {"name": "work", "path": f"{name}/"}},
    }
    return _object(Kind.DATASET, namespace, name, {**base, **spec})


def training_job(namespace: str, name: str = "train", **spec: Any) -> Object:
    """A small pre-training on the dataset `text`."""
    base = {
        "model": {
            "architecture": {
                "family": "llama",
                "hiddenSize": 64,
                "layers": 2,
                "heads": 2,
                "contextLength": 64,
            }
        },
        "task": "causal-lm",
        "method": "pretrain",
        "datasets": [{"name": "text"}],
        "hyperparameters": {"maxSteps": 10},
        "output": {"store": {"name": "work", "path": f"{name}/"}},
    }
    return _object(Kind.TRAINING_JOB, namespace, name, {**base, **spec})


def deployment(namespace: str, name: str = "serve", **spec: Any) -> Object:
    """A deployment of the training job `train`."""
    base = {"model": {"trainingJob": {"name": "train"}}, "access": {"anonymous": True}}
    return _object(Kind.DEPLOYMENT, namespace, name, {**base, **spec})


def access_key(namespace: str, name: str = "team", **spec: Any) -> Object:
    """A key to everything in its namespace."""
    return _object(Kind.ACCESS_KEY, namespace, name, {"sha256": "5" * 64, **spec})


def changed(base: Object, path: str, value: Any) -> Object:
    """A copy with `spec.<path>` set; the value None removes it."""
    result = copy.deepcopy(base)
    *parents, last = path.split(".")
    node = result["spec"]
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
    if value is None:
        del node[last]
    else:
        node[last] = value
    return result
