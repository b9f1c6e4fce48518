"""The Deployment that serves a model: fetch and verify, load, be ready after one generation."""

from dataclasses import dataclass

from llmcloud.api.common import Resources
from llmcloud.api.contract import ENGINE_PORT, MODELS_PATH, REPORT_PORT, FetchTask
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.names import LABEL_COMPONENT, LABEL_OWNER_UID
from llmcloud.plan.manifests.pod import (
    Container,
    child_labels,
    pod_template,
    store_mounts,
)
from llmcloud.plan.model import Manifest, Owner, PodDefaults
from llmcloud.plan.stores import StoreAccess

COMPONENT = "engine"
LOAD_SECONDS = 900
"""How long a replica may take to load its model before it is started anew."""
SETTLE_SECONDS = 5
"""How long a replica that goes still takes requests, until no gateway sends any."""


@dataclass(frozen=True)
class ModelSource:
    """The model that is to be served, pinned."""

    store: StoreAccess
    path: str
    digest: str | None
    url: str
    training_job: str | None = None


def engine_selector(owner: Owner) -> dict[str, str]:
    """Labels that select the replicas; they never change."""
    return {LABEL_OWNER_UID: owner.uid, LABEL_COMPONENT: COMPONENT}


def engine_deployment(
    owner: Owner,
    spec: LLMDeploymentSpec,
    model: ModelSource,
    served_name: str,
    replicas: int,
    defaults: PodDefaults,
) -> Manifest:
    """`<owner>-engine`. The model's folder bears the served name, which is how the engine knows
    it; a new digest changes the template and so rolls the replicas."""
    shm = {"medium": "Memory", "sizeLimit": spec.resources.shared_memory}
    template = pod_template(
        defaults,
        spec.pod,
        child_labels(owner, COMPONENT),
        (_engine(spec, served_name, defaults),),
        resources=spec.resources,
        stores=(model.store,),
        init_containers=(_fetch(spec, model, served_name, defaults),),
        volumes=(
            {"name": "models", "emptyDir": {"sizeLimit": spec.resources.ephemeral_storage}},
            {"name": "shm", "emptyDir": shm},
        ),
        grace_seconds=SETTLE_SECONDS + spec.scaling.drain_seconds + 15,
        restart="Always",
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{owner.name}-{COMPONENT}",
            "namespace": owner.namespace,
            "labels": child_labels(owner, COMPONENT),
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": LOAD_SECONDS + 300,
            "selector": {"matchLabels": engine_selector(owner)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": template,
        },
    }


def _fetch(
    spec: LLMDeploymentSpec, model: ModelSource, served_name: str, defaults: PodDefaults
) -> Container:
    return Container(
        name="fetch-model",
        image=defaults.operator_image,
        args=("task",),
        resources=Resources(
            cpu="100m", memory="512Mi", ephemeral_storage=spec.resources.ephemeral_storage
        ),
        task=FetchTask(
            store=model.store.location,
            path=model.path,
            digest=model.digest,
            destination=f"{MODELS_PATH}/{served_name}",
        ),
        mounts=({"name": "models", "mountPath": MODELS_PATH}, *store_mounts((model.store,))),
    )


def _engine(spec: LLMDeploymentSpec, served_name: str, defaults: PodDefaults) -> Container:
    drain = str(spec.scaling.drain_seconds)
    return Container(
        name="engine",
        image=defaults.runtime_image,
        args=("llmcloud_runtime.engine", "--model-name", served_name, "--drain-seconds", drain),
        resources=spec.resources,
        mounts=(
            {"name": "models", "mountPath": MODELS_PATH, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},
        ),
        extra={
            "ports": [
                {"name": "http", "containerPort": ENGINE_PORT},
                {"name": "report", "containerPort": REPORT_PORT},
            ],
            "lifecycle": {"preStop": {"sleep": {"seconds": SETTLE_SECONDS}}},
            "startupProbe": _probe("/ready", period=2, failures=LOAD_SECONDS // 2),
            "readinessProbe": _probe("/ready", period=2, failures=2),
            "livenessProbe": _probe("/healthz", period=10, failures=6),
        },
    )


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": REPORT_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
