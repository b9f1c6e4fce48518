"""The Deployment that serves a model: fetch and verify, load, be ready after one generation."""

from dataclasses import dataclass

from llmcloud.api.base import digest
from llmcloud.api.common import Resources
from llmcloud.api.contract import MODELS_PATH, FetchTask, ModelKind
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.model import TaskName
from llmcloud.api.names import (
    ANNOTATION_REPLICAS,
    LABEL_COMPONENT,
    LABEL_OWNER_UID,
    LABEL_REVISION,
)
from llmcloud.plan.engines import Chosen
from llmcloud.plan.manifests.engine_custom import custom_container
from llmcloud.plan.manifests.engine_transformers import transformers_container
from llmcloud.plan.manifests.engine_vllm import Seat, vllm_container
from llmcloud.plan.manifests.pod import (
    Container,
    child_labels,
    disk_volume,
    large_volume,
    pod_template,
    store_mounts,
)
from llmcloud.plan.manifests.replica import LOAD_SECONDS, SETTLE_SECONDS, model_path
from llmcloud.plan.manifests.sidecar import (
    ADAPTERS_VOLUME,
    adapters_sidecar,
    sidecar_container,
)
from llmcloud.plan.model import Manifest, Owner, PodDefaults
from llmcloud.plan.stores import StoreAccess

COMPONENT = "engine"
WORKER = "engine-worker"
"""A part of a replica of several nodes that is not the leader: nobody calls it."""
PROGRESS_SECONDS = LOAD_SECONDS + 300
"""How long until its first Ready, before it is held to be no good."""


@dataclass(frozen=True)
class ModelSource:
    """The model that is to be served, pinned."""

    store: StoreAccess
    path: str
    digest: str | None
    url: str
    training_job: str | None = None
    task: TaskName | None = None
    kind: ModelKind = "full"


def engine_selector(owner: Owner) -> dict[str, str]:
    """Labels that select the replicas of all revisions; they never change."""
    return {LABEL_OWNER_UID: owner.uid, LABEL_COMPONENT: COMPONENT}


def engine_template(
    owner: Owner,
    spec: LLMDeploymentSpec,
    model: ModelSource,
    served_name: str,
    engine: Chosen,
    adapters: tuple[StoreAccess, ...],
    defaults: PodDefaults,
    seat: Seat | None = None,
) -> Manifest:
    """The pod of a replica, or that in `seat` of several."""
    shm = {"medium": "Memory", "sizeLimit": spec.resources.shared_memory}
    leads = seat is None or seat.rank == 0
    return pod_template(
        defaults,
        spec.pod,
        child_labels(owner, COMPONENT if leads else WORKER),
        (_engine(spec, served_name, engine, defaults, seat),),
        resources=spec.resources,
        stores=(model.store, *adapters),
        init_containers=(
            _fetch(spec, model, served_name, defaults),
            *(_sidecar(spec, served_name, engine, adapters, defaults) if leads else ()),
        ),
        volumes=(
            large_volume("models", spec.pod, spec.resources),
            {"name": "shm", "emptyDir": shm},
            *((ADAPTERS_VOLUME,) if spec.adapters else ()),
        ),
        scratch=disk_volume("scratch", spec.resources),
        scheduling=engine.scheduling,
        subdomain=group_service(owner) if seat else None,
        grace_seconds=SETTLE_SECONDS + spec.scaling.drain_seconds + 15,
        restart="Always",
    )


def group_service(owner: Owner) -> str:
    """Gives the pods of replicas of several nodes host names."""
    return f"{owner.name}-nodes"


def template_revision(template: Manifest) -> str:
    """Names all that makes a replica."""
    return digest(template).removeprefix("sha256:")[:8]


def engine_deployment(
    owner: Owner,
    spec: LLMDeploymentSpec,
    model: ModelSource,
    served_name: str,
    replicas: int,
    engine: Chosen,
    adapters: tuple[StoreAccess, ...],
    defaults: PodDefaults,
) -> Manifest:
    """`<owner>-engine-<revision>`: a hash of the template, so that every change of what makes the
    replicas is a Deployment of its own. The model's folder bears the served name, which is how
    the engine knows it. `adapters`: their stores."""
    template = engine_template(owner, spec, model, served_name, engine, adapters, defaults)
    revision = template_revision(template)
    template["metadata"]["labels"][LABEL_REVISION] = revision
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{owner.name}-{COMPONENT}-{revision}",
            "namespace": owner.namespace,
            "labels": {**child_labels(owner, COMPONENT), LABEL_REVISION: revision},
            "annotations": {ANNOTATION_REPLICAS: str(replicas)},
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": PROGRESS_SECONDS,
            "selector": {"matchLabels": {**engine_selector(owner), LABEL_REVISION: revision}},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": template,
        },
    }


def rescaled(manifest: Manifest, replicas: int) -> Manifest:
    """The same with another number of replicas. Others may change the number; the annotation tells
    what was asked for."""
    meta, spec = manifest["metadata"], manifest["spec"]
    annotations = {ANNOTATION_REPLICAS: str(replicas)}
    return {
        **manifest,
        "metadata": {**meta, "annotations": annotations},
        "spec": {**spec, "replicas": replicas},
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
            destination=model_path(served_name),
        ),
        mounts=({"name": "models", "mountPath": MODELS_PATH}, *store_mounts((model.store,))),
    )


def _sidecar(
    spec: LLMDeploymentSpec,
    served_name: str,
    engine: Chosen,
    adapters: tuple[StoreAccess, ...],
    defaults: PodDefaults,
) -> tuple[Container, ...]:
    if spec.adapters:
        return (adapters_sidecar(served_name, adapters, defaults),)
    return (sidecar_container(served_name, defaults),) if engine.program == "vllm" else ()


def _engine(
    spec: LLMDeploymentSpec,
    served_name: str,
    engine: Chosen,
    defaults: PodDefaults,
    seat: Seat | None,
) -> Container:
    devices = engine.scheduling.devices
    match engine.program:
        case "vllm":
            return vllm_container(spec, served_name, devices, defaults, seat)
        case "transformers":
            return transformers_container(spec, served_name, devices, defaults)
        case "custom":
            return custom_container(spec, served_name, devices)
