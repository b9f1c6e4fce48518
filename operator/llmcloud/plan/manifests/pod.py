"""A pod that passes Pod Security restricted: non-root, read-only root, nothing granted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from llmcloud.api.base import ApiModel
from llmcloud.api.common import PodSettings, Resources
from llmcloud.api.contract import (
    AUTHORITIES_FILE,
    ENV_AUTHORITIES,
    ENV_TASK,
    REPORT_PORT,
    SCRATCH_PATH,
    USER_ID,
)
from llmcloud.api.names import (
    ANNOTATION_AUTHORITIES,
    LABEL_ATTEMPT,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_OWNER_KIND,
    LABEL_OWNER_NAME,
    LABEL_OWNER_UID,
    MANAGED_BY,
)
from llmcloud.plan.model import Manifest, Owner, PodDefaults
from llmcloud.plan.placement import Scheduling
from llmcloud.plan.stores import StoreAccess

CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
NOWHERE_SPECIAL = Scheduling()
_AUTHORITIES_FOLDER, _, _AUTHORITIES_NAME = AUTHORITIES_FILE.rpartition("/")
POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}


def child_labels(owner: Owner, component: str, version: str = "") -> dict[str, str]:
    """The labels of every child; selectors use owner-uid and component only."""
    labels = {
        "app.kubernetes.io/name": "llmcloud",
        "app.kubernetes.io/instance": owner.name,
        "app.kubernetes.io/part-of": "llmcloud",
        LABEL_COMPONENT: component,
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_OWNER_KIND: str(owner.kind),
        LABEL_OWNER_NAME: owner.name,
        LABEL_OWNER_UID: owner.uid,
    }
    return {**labels, "app.kubernetes.io/version": version} if version else labels


def attempt_labels(owner: Owner, component: str, attempt: int) -> dict[str, str]:
    """`child_labels` with the number of the attempt."""
    return {**child_labels(owner, component), LABEL_ATTEMPT: str(attempt)}


def names_service(owner: Owner, name: str, component: str, port: int) -> Manifest:
    """Gives the pods of a component host names, by which they meet at `port` before they are
    ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": child_labels(owner, component),
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {LABEL_OWNER_UID: owner.uid, LABEL_COMPONENT: component},
            "ports": [{"name": "meeting", "port": port}],
        },
    }


@dataclass(frozen=True)
class Container:
    """What one container runs: `args` for its image's entry point, and its task."""

    name: str
    image: str
    args: tuple[str, ...]
    resources: Resources
    task: ApiModel | None = None
    mounts: tuple[Manifest, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    pod_env: tuple[tuple[str, str], ...] = ()
    """Variables with fields of the pod's own: name and path. `env` may name them as $(NAME)."""
    devices: Manifest = field(default_factory=dict)
    """Extended resources: name to count."""
    extra: Manifest = field(default_factory=dict)


def container_manifest(defaults: PodDefaults, container: Container) -> Manifest:
    """One container. CPU is requested, not limited; memory and disk are both."""
    env = dict(defaults.env) | dict(container.env)
    trusted: list[Manifest] = []
    if defaults.authorities:
        env[ENV_AUTHORITIES] = AUTHORITIES_FILE
        trusted = [{"name": "authorities", "mountPath": _AUTHORITIES_FOLDER, "readOnly": True}]
    if container.task is not None:
        env[ENV_TASK] = container.task.model_dump_json(by_alias=True, exclude_none=True)
    bounded = {
        "memory": container.resources.memory,
        "ephemeral-storage": container.resources.ephemeral_storage,
        **container.devices,
    }
    return {
        "name": container.name,
        "image": container.image,
        "imagePullPolicy": defaults.image_pull_policy,
        "args": list(container.args),
        "env": [
            *(
                {"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for key, path in container.pod_env
            ),
            *({"name": key, "value": value} for key, value in env.items()),
        ],
        "resources": {
            "requests": {"cpu": container.resources.cpu, **bounded},
            "limits": bounded,
        },
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "scratch", "mountPath": SCRATCH_PATH},
            *trusted,
            *container.mounts,
        ],
        **container.extra,
    }


def report_port() -> Manifest:
    """The port on which the leader reads progress and Prometheus scrapes."""
    return {"ports": [{"name": "report", "containerPort": REPORT_PORT}]}


def store_mounts(stores: Iterable[StoreAccess]) -> tuple[Manifest, ...]:
    """The mounts of several stores, each once."""
    return tuple({m["name"]: m for store in stores for m in store.mounts}.values())


def _store_volumes(stores: Iterable[StoreAccess]) -> list[Manifest]:
    return list({v["name"]: v for store in stores for v in store.volumes}.values())


def disk_volume(name: str, resources: Resources) -> Manifest:
    """A part of the node's disk."""
    return {"name": name, "emptyDir": {"sizeLimit": resources.ephemeral_storage}}


def large_volume(name: str, settings: PodSettings, resources: Resources) -> Manifest:
    """A volume for models and data: a claim of the pod's own, or a part of the node's disk."""
    scratch = settings.scratch
    if scratch is None:
        return disk_volume(name, resources)
    claim: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": scratch.size}},
    }
    if scratch.storage_class_name is not None:
        claim["storageClassName"] = scratch.storage_class_name
    return {"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def _authorities_volumes(defaults: PodDefaults) -> tuple[Manifest, ...]:
    """The pod's own annotation as a file: a ConfigMap in every namespace would be a right more."""
    if not defaults.authorities:
        return ()
    field = {"fieldPath": f"metadata.annotations['{ANNOTATION_AUTHORITIES}']"}
    items = [{"path": _AUTHORITIES_NAME, "fieldRef": field}]
    return ({"name": "authorities", "downwardAPI": {"items": items}},)


def pod_template(
    defaults: PodDefaults,
    settings: PodSettings,
    labels: dict[str, str],
    containers: tuple[Container, ...],
    *,
    resources: Resources,
    stores: tuple[StoreAccess, ...] = (),
    init_containers: tuple[Container, ...] = (),
    volumes: tuple[Manifest, ...] = (),
    scratch: Manifest | None = None,
    scheduling: Scheduling = NOWHERE_SPECIAL,
    subdomain: str | None = None,
    grace_seconds: int = 30,
    restart: str = "Never",
    annotations: Mapping[str, str] = MappingProxyType({}),
) -> Manifest:
    """A pod template. The user's labels and annotations never replace ours.

    `scratch`: the volume of that name, if the large one has another.
    """
    secrets = [*defaults.image_pull_secrets, *(s.name for s in settings.image_pull_secrets)]
    user_env = tuple((item.name, item.value) for item in settings.env)
    main = [container_manifest(defaults, replace(c, env=(*c.env, *user_env))) for c in containers]
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": POD_SECURITY,
        "containers": main,
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            scratch or large_volume("scratch", settings, resources),
            *volumes,
            *_store_volumes(stores),
            *_authorities_volumes(defaults),
        ],
        "tolerations": [
            *defaults.tolerations,
            *scheduling.tolerations,
            *(toleration.wire() for toleration in settings.tolerations),
        ],
    }
    if init_containers:
        spec["initContainers"] = [container_manifest(defaults, c) for c in init_containers]
    if secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in dict.fromkeys(secrets)]
    for key, value in (
        ("serviceAccountName", settings.service_account_name),
        ("priorityClassName", settings.priority_class_name),
        ("schedulerName", settings.scheduler_name),
        ("subdomain", subdomain),
        ("affinity", scheduling.affinity),
    ):
        if value is not None:
            spec[key] = value
    return {"metadata": _metadata(defaults, settings, labels, annotations), "spec": spec}


def _metadata(
    defaults: PodDefaults,
    settings: PodSettings,
    labels: dict[str, str],
    annotations: Mapping[str, str],
) -> Manifest:
    trusted = {ANNOTATION_AUTHORITIES: defaults.authorities} if defaults.authorities else {}
    told = {**settings.annotations, **annotations, **trusted}
    metadata: Manifest = {"labels": {**settings.labels, **labels}}
    return {**metadata, "annotations": told} if told else metadata
