"""Small real work for tests: objects that a pod finishes in seconds."""

from typing import Any

from tests.support.objects import Object, changed, dataset, deployment, store, training_job

ENDPOINT = "http://llmcloud-store.llmcloud-system:9000"


def small_path(namespace: str, bucket: str) -> list[Object]:
    """Stores, a dataset of a few modules, a model of two layers, a deployment at zero."""
    keys: dict[str, Any] = {
        "endpoint": {"url": ENDPOINT},
        "credentials": {"secretRef": {"name": "store-keys"}},
    }
    source: dict[str, Any] = {
        "store": {"name": "samples", "path": "python/"},
        "format": "code",
        "include": ["json/*.py", "heapq.py", "bisect.py", "queue.py"],
    }
    small = {"cpu": "100m", "memory": "2Gi"}
    text = dataset(namespace, sources=[source], resources=small)
    text = changed(text, "prepare", {"split": {"validationFraction": 0.25}})
    job = training_job(namespace, resources=small)
    job = changed(job, "hyperparameters", {"maxSteps": 60, "learningRate": 0.002})
    job = changed(job, "checkpoint", {"everySteps": 20})
    job = changed(job, "evaluation", {"metrics": [{"name": "perplexity"}]})
    return [
        store(namespace, name="samples", bucket="samples", create=False, **keys),
        store(namespace, bucket=bucket, **keys),
        text,
        job,
        deployment(
            namespace, resources=small, servedModelName=namespace, scaling={"drainSeconds": 5}
        ),
    ]
