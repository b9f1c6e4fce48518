"""How a pod reaches an ObjectStore: its location, and the volumes with keys and certificates."""

from dataclasses import dataclass
from typing import Final

from llmcloud.api.contract import CA_PATH, CREDENTIALS_PATH, StoreLocation
from llmcloud.api.location import Federation
from llmcloud.api.names import Condition, Reason
from llmcloud.api.objectstore import ObjectStoreSpec
from llmcloud.plan.model import Manifest, Owner, parse

TOKEN: Final = "token"
TOKEN_SECONDS: Final = 3600


@dataclass(frozen=True)
class StoreAccess:
    """A usable store: what a task is told of it, and what its pod mounts."""

    location: StoreLocation
    volumes: tuple[Manifest, ...]
    mounts: tuple[Manifest, ...]


def store_access(name: str, spec: ObjectStoreSpec) -> StoreAccess:
    """Location and mounts of the store `name`; nothing is read from its Secret."""
    volumes: list[Manifest] = []
    mounts: list[Manifest] = []
    credentials_path = ca_file = None
    federation = _federation(name, spec)
    if spec.credentials is not None and spec.credentials.secret_ref is not None:
        credentials_path = f"{CREDENTIALS_PATH}/{name}"
        volume = {"name": f"keys-{name}", "secret": _read_only(spec.credentials.secret_ref.name)}
        volumes.append(volume)
        mounts.append(_mount(f"keys-{name}", credentials_path))
    if federation is not None:
        volumes.append({"name": f"token-{name}", "projected": _token(_audience(federation))})
        mounts.append(_mount(f"token-{name}", f"{CREDENTIALS_PATH}/{name}"))
    if spec.endpoint is not None and spec.endpoint.ca_config_map_ref is not None:
        reference = spec.endpoint.ca_config_map_ref
        ca_file = f"{CA_PATH}/{name}/{reference.key}"
        volumes.append({"name": f"ca-{name}", "configMap": {"name": reference.name}})
        mounts.append(_mount(f"ca-{name}", f"{CA_PATH}/{name}"))
    location = StoreLocation(
        name=name,
        provider=spec.provider,
        bucket=spec.bucket,
        account=spec.azure.account if spec.azure else None,
        prefix=spec.prefix,
        region=spec.region,
        endpoint_url=spec.endpoint.url if spec.endpoint else None,
        ca_file=ca_file,
        credentials_path=credentials_path,
        federation=federation,
    )
    return StoreAccess(location, tuple(volumes), tuple(mounts))


def _federation(name: str, spec: ObjectStoreSpec) -> Federation | None:
    credentials = spec.credentials
    if credentials is None or credentials.secret_ref is not None:
        return None
    return Federation(
        token_file=f"{CREDENTIALS_PATH}/{name}/{TOKEN}",
        token_url=spec.endpoint.token_url if spec.endpoint else None,
        aws=credentials.aws,
        gcp=credentials.gcp,
        azure=credentials.azure,
    )


def _audience(federation: Federation) -> str:
    """Whom the token is for: what each cloud expects unless it was told otherwise."""
    if federation.aws is not None:
        return "sts.amazonaws.com"
    if federation.gcp is not None:
        return f"https://iam.googleapis.com/{federation.gcp.workload_identity_provider}"
    return "api://AzureADTokenExchange"


def _token(audience: str) -> Manifest:
    """A token of the pod's service account, which the kubelet renews in time."""
    token = {"audience": audience, "expirationSeconds": TOKEN_SECONDS, "path": TOKEN}
    return {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}


def _read_only(secret: str) -> Manifest:
    return {"secretName": secret, "defaultMode": 0o440}


def _mount(name: str, path: str) -> Manifest:
    return {"name": name, "mountPath": path, "readOnly": True}


@dataclass(frozen=True)
class Missing:
    """What must come first, and where the user finds it."""

    reason: Reason
    message: str
    stalled: bool = False
    """Nothing changes without the user."""


def usable_store(
    name: str, store: Owner | None, *, must_be_ready: bool = True
) -> StoreAccess | Missing:
    """The store, once its provisioning has succeeded; what uses it already need not wait again."""
    if store is None:
        return Missing(
            Reason.STORE_NOT_FOUND,
            f"ObjectStore {name} does not exist in this namespace: create it",
        )
    spec = parse(ObjectStoreSpec, store.spec)
    if isinstance(spec, str):
        return Missing(Reason.STORE_NOT_READY, f"ObjectStore {name}: {spec}")
    if must_be_ready and not store.is_true(Condition.READY):
        said = store.condition(Condition.READY).get("message") or "it is being provisioned"
        return Missing(Reason.STORE_NOT_READY, f"ObjectStore {name} is not ready: {said}")
    return store_access(name, spec)
