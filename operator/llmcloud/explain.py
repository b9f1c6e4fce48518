"""`llmcloud explain`: what objects would become, without a cluster.

References are looked up in the same file and taken as ready; what is missing there is missing.
Nodes in the file (`kubectl get nodes -o yaml`) are the cluster's.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import yaml

from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.deployment import LLMDeploymentSpec, ServedModel
from llmcloud.api.model import TrainingJobModel
from llmcloud.api.names import API_VERSION, Condition, Kind
from llmcloud.plan.accelerators import Catalogue, NodeLabels
from llmcloud.plan.accesskey import KeyWorld, plan_access_key
from llmcloud.plan.adapters import AdapterView
from llmcloud.plan.dataset import DatasetWorld, dataset_stores, plan_dataset
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld
from llmcloud.plan.model import Manifest, Owner, Plan, PodDefaults, owner_from, parse
from llmcloud.plan.objectstore import StoreWorld, plan_object_store
from llmcloud.plan.served_model import newest_passing
from llmcloud.plan.training import plan_training
from llmcloud.plan.training_world import TrainingWorld

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS: Final = PodDefaults(
    operator_image="llmcloud/operator:VERSION",
    data_image="llmcloud/data:VERSION",
    runtime_image="llmcloud/runtime:VERSION",
    version="VERSION",
    gateway_url="http://GATEWAY",
    gateway_image="llmcloud/gateway:VERSION",
    vllm_image="vllm/vllm-openai:VERSION",
    namespace="llmcloud-system",
)
_DIGEST: Final = "sha256:" + "0" * 64


def explain(path: Path, out: TextIO, values: Path | None = None) -> int:
    """Print the plan of every object of ours in a YAML file; 1 if there is none.

    `values`: a file of the chart's values, for its catalogue of accelerators.
    """
    documents = list(yaml.safe_load_all(path.read_text()))
    owners, nodes = read_owners(documents), read_nodes(documents)
    defaults = replace(DEFAULTS, catalogue=read_catalogue(values)) if values else DEFAULTS
    if not owners:
        print(f"{path} holds no object of {API_VERSION}", file=out)
        return 1
    for owner in owners:
        plan = plan_of(owner, owners, nodes, defaults)
        print(f"# {owner.kind} {owner.namespace}/{owner.name}", file=out)
        print(yaml.safe_dump(plan_document(plan), sort_keys=False), end="", file=out)
        print("---", file=out)
    return 0


def plan_document(plan: Plan) -> Manifest:
    """A plan as a document for people."""
    return {
        "applies": list(plan.applies),
        "deletes": [f"{ref.kind} {ref.name}" for ref in plan.deletes],
        "finalizer": plan.finalizer,
        "status": plan.status,
        "requeueSeconds": plan.requeue_seconds,
    }


def read_owners(documents: Any) -> list[Owner]:
    """The custom resources among YAML documents, as a new cluster would hold them."""
    owners = []
    for document in documents:
        if not document or document.get("apiVersion") != API_VERSION:
            continue
        meta = document["metadata"]
        name, kind = meta["name"], document["kind"]
        meta = {
            "namespace": "default",
            "uid": f"uid-of-{kind.lower()}-{name}",
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **meta,
        }
        owners.append(owner_from({**document, "metadata": meta, "status": {}}))
    return owners


def read_nodes(documents: Any) -> NodeLabels:
    """The labels of the nodes among YAML documents, in lists or alone."""
    found = (
        item for document in documents if document for item in document.get("items", [document])
    )
    return tuple(
        item["metadata"].get("labels") or {} for item in found if item.get("kind") == "Node"
    )


def read_catalogue(values: Path) -> Catalogue:
    """The catalogue of accelerators in a file of the chart's values."""
    members = yaml.safe_load(values.read_text())
    names = ("platform", "platforms", "accelerators")
    return Catalogue.model_validate({name: members[name] for name in names if name in members})


def _as_ready(owner: Owner) -> Owner:
    ready = {"status": "True", "observedGeneration": owner.generation, "reason": "Assumed"}
    status = {
        "version": _DIGEST,
        "model": {"url": "s3://assumed", "path": "model/", "digest": _DIGEST},
        "conditions": [{"type": str(c), **ready} for c in (Condition.READY, Condition.COMPLETE)],
    }
    return owner_from({**owner.raw, "status": status})


def _served_job(owner: Owner, which: TrainingJobModel | None, others: list[Owner]) -> Owner | None:
    jobs = [
        _as_ready(other)
        for other in others
        if (other.kind, other.namespace) == (Kind.TRAINING_JOB, owner.namespace)
    ]
    if which is not None and which.selector is not None:
        return newest_passing(jobs, which.selector)
    return next((job for job in jobs if which and job.name == which.name), None)


def _deployment_world(
    owner: Owner,
    others: list[Owner],
    nodes: NodeLabels,
    find: Callable[[Kind, str], Owner | None],
) -> DeploymentWorld:
    spec = parse(LLMDeploymentSpec, owner.spec)
    if isinstance(spec, str):
        return DeploymentWorld(owner, None, None, (), (), NOW)

    def source(model: ServedModel | None) -> tuple[Owner | None, Owner | None]:
        job = _served_job(owner, model.training_job if model else None, others)
        store = model.store.name if model and model.store else ""
        return job, find(Kind.OBJECT_STORE, job.spec["output"]["store"]["name"] if job else store)

    adapters = tuple(AdapterView(one.name, *source(one.model)) for one in spec.adapters)
    job, store = source(spec.model)
    return DeploymentWorld(owner, job, store, (), (), NOW, nodes=nodes, adapters=adapters)


def plan_of(
    owner: Owner, others: list[Owner], nodes: NodeLabels = (), defaults: PodDefaults = DEFAULTS
) -> Plan:
    """The first plan of `owner`, with those of `others` that it refers to taken as ready."""

    def find(kind: Kind, name: str) -> Owner | None:
        return next(
            (
                _as_ready(other)
                for other in others
                if (other.kind, other.namespace, other.name) == (kind, owner.namespace, name)
            ),
            None,
        )

    match owner.kind:
        case Kind.OBJECT_STORE:
            return plan_object_store(StoreWorld(owner, (), NOW), defaults)
        case Kind.DATASET:
            spec = parse(LLMDatasetSpec, owner.spec)
            jobs = [find(Kind.TRAINING_JOB, o.name) for o in others if o.kind == Kind.TRAINING_JOB]
            trainings = tuple(job for job in jobs if job is not None)
            named = () if isinstance(spec, str) else dataset_stores(spec, trainings)
            stores = tuple((name, find(Kind.OBJECT_STORE, name)) for name in named)
            return plan_dataset(DatasetWorld(owner, stores, (), NOW, trainings=trainings), defaults)
        case Kind.TRAINING_JOB:
            data = [find(other.kind, other.name) for other in others if other.kind == Kind.DATASET]
            names = [other.name for other in others if other.kind == Kind.OBJECT_STORE]
            jobs = [find(other.kind, other.name) for other in others if other.kind == owner.kind]
            world = TrainingWorld(
                owner,
                tuple(dataset for dataset in data if dataset is not None),
                tuple((name, find(Kind.OBJECT_STORE, name)) for name in names),
                (),
                NOW,
                nodes=nodes,
                trainings=tuple(job for job in jobs if job is not None and job.name != owner.name),
            )
            return plan_training(world, defaults)
        case Kind.DEPLOYMENT:
            return plan_deployment(_deployment_world(owner, others, nodes, find), defaults)
        case Kind.ACCESS_KEY:
            return plan_access_key(KeyWorld(owner, NOW), defaults)
