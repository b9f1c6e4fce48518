"""The egress pod that presents a key to a provider, and who may call serving pods."""

from collections.abc import Collection

from llmcloud.api.common import PodSettings, Resources
from llmcloud.api.contract import ENGINE_PORT, REPORT_PORT
from llmcloud.api.external import (
    EGRESS_KEY_FILE,
    EGRESS_LEASES_FILE,
    EGRESS_PORT,
    EGRESS_REPORT_PORT,
    EgressTask,
    External,
)
from llmcloud.api.names import ANNOTATION_LEASES, LABEL_COMPONENT, LABEL_OWNER_UID
from llmcloud.plan.manifests.pod import Container, child_labels, pod_template
from llmcloud.plan.manifests.replica import SETTLE_SECONDS
from llmcloud.plan.model import Manifest, Owner, PodDefaults

COMPONENT = "egress"
RESOURCES = Resources(cpu="50m", memory="256Mi", ephemeral_storage="64Mi")
_KEY_FOLDER, _, _KEY_NAME = EGRESS_KEY_FILE.rpartition("/")
_LEASES_FOLDER, _, _LEASES_NAME = EGRESS_LEASES_FILE.rpartition("/")


def egress_selector(owner: Owner) -> dict[str, str]:
    """Labels that select the egress pod; they never change."""
    return {LABEL_OWNER_UID: owner.uid, LABEL_COMPONENT: COMPONENT}


def egress_deployment(
    owner: Owner, external: External, pod: PodSettings, drain_seconds: int, defaults: PodDefaults
) -> Manifest:
    """`<owner>-egress`: one pod, and its successor beside it until that is ready. Each spends what
    it was leased of a budget."""
    template = pod_template(
        defaults,
        pod,
        child_labels(owner, COMPONENT),
        (_container(external, drain_seconds, defaults),),
        resources=RESOURCES,
        volumes=(*_key_volume(external), *_leases_volume(external)),
        grace_seconds=SETTLE_SECONDS + drain_seconds + 15,
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
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": egress_selector(owner)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": template,
        },
    }


def _container(external: External, drain_seconds: int, defaults: PodDefaults) -> Container:
    mounts: tuple[Manifest, ...] = ()
    if external.api_key_secret_ref is not None:
        mounts = ({"name": "key", "mountPath": _KEY_FOLDER, "readOnly": True},)
    if external.tokens_per_day is not None:
        mounts += ({"name": "leases", "mountPath": _LEASES_FOLDER, "readOnly": True},)
    return Container(
        name=COMPONENT,
        image=defaults.gateway_image,
        args=(),
        resources=RESOURCES,
        task=EgressTask(
            external=external,
            allowed_networks=list(defaults.allowed_networks),
            drain_seconds=drain_seconds,
        ),
        mounts=mounts,
        extra={
            "command": ["python", "-m", "llmcloud_gateway.egress"],
            "ports": [
                {"name": "http", "containerPort": EGRESS_PORT},
                {"name": "report", "containerPort": EGRESS_REPORT_PORT},
            ],
            "lifecycle": {"preStop": {"sleep": {"seconds": SETTLE_SECONDS}}},
            "readinessProbe": {
                "httpGet": {"path": "/ready", "port": EGRESS_REPORT_PORT},
                "periodSeconds": 2,
                "timeoutSeconds": 3,
            },
            "livenessProbe": {
                "httpGet": {"path": "/healthz", "port": EGRESS_REPORT_PORT},
                "periodSeconds": 10,
                "timeoutSeconds": 3,
                "failureThreshold": 6,
            },
        },
    )


def _key_volume(external: External) -> tuple[Manifest, ...]:
    reference = external.api_key_secret_ref
    if reference is None:
        return ()
    items = [{"key": reference.key, "path": _KEY_NAME}]
    secret = {"secretName": reference.name, "items": items, "defaultMode": 0o440}
    return ({"name": "key", "secret": secret},)


def _leases_volume(external: External) -> tuple[Manifest, ...]:
    if external.tokens_per_day is None:
        return ()
    field = {"fieldPath": f"metadata.annotations['{ANNOTATION_LEASES}']"}
    items = [{"path": _LEASES_NAME, "fieldRef": field}]
    return ({"name": "leases", "downwardAPI": {"items": items}},)


def serving_policy(
    owner: Owner,
    defaults: PodDefaults,
    engine_ports: Collection[int] = (ENGINE_PORT,),
    *,
    grouped: bool = False,
) -> Manifest:
    """Engines and egress pods are called by gateways only; their reports are anybody's. `grouped`:
    the pods of a replica call each other."""
    own = {"podSelector": {"matchLabels": {LABEL_OWNER_UID: owner.uid}}}
    serving = sorted({*engine_ports, EGRESS_PORT})
    gateways = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": defaults.namespace}},
        "podSelector": {
            "matchLabels": {"app.kubernetes.io/name": "llmcloud", LABEL_COMPONENT: "gateway"}
        },
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": f"{owner.name}-serving",
            "namespace": owner.namespace,
            "labels": child_labels(owner, "serving"),
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "podSelector": {"matchLabels": {LABEL_OWNER_UID: owner.uid}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [gateways], "ports": [{"port": port} for port in serving]},
                {"ports": [{"port": REPORT_PORT}]},
                *([{"from": [own]}] if grouped else []),
            ],
        },
    }
