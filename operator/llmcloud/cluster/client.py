"""One thin client: raw dictionaries in and out, one pool, bounded time, typed errors."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, ApiException, Configuration
from kubernetes.aio.client.rest import RESTClientObject

from llmcloud.api.names import API_VERSION, Kind
from llmcloud.plan.model import Manifest, ObjectRef

JSON: Final = "application/json"
REQUEST_SECONDS: Final = 10.0
_CONNECTIONS: Final = 48
_PAGE: Final = 500
_LACKS_A_RIGHT: Final = re.compile(r'User "[^"]*" cannot \w+ resource ')
"""The API server's words, which admission and quota do not use."""

_RESOURCES: Final[Mapping[tuple[str, str], tuple[str, str]]] = MappingProxyType(
    {
        ("v1", "ConfigMap"): ("/api/v1", "configmaps"),
        ("v1", "Node"): ("/api/v1", "nodes"),
        ("v1", "Pod"): ("/api/v1", "pods"),
        ("v1", "Service"): ("/api/v1", "services"),
        ("v1", "Event"): ("/api/v1", "events"),
        ("batch/v1", "Job"): ("/apis/batch/v1", "jobs"),
        ("apps/v1", "Deployment"): ("/apis/apps/v1", "deployments"),
        ("apps/v1", "StatefulSet"): ("/apis/apps/v1", "statefulsets"),
        ("networking.k8s.io/v1", "NetworkPolicy"): (
            "/apis/networking.k8s.io/v1",
            "networkpolicies",
        ),
        ("policy/v1", "PodDisruptionBudget"): ("/apis/policy/v1", "poddisruptionbudgets"),
        ("coordination.k8s.io/v1", "Lease"): ("/apis/coordination.k8s.io/v1", "leases"),
        ("events.k8s.io/v1", "Event"): ("/apis/events.k8s.io/v1", "events"),
        ("kueue.x-k8s.io/v1beta2", "Workload"): ("/apis/kueue.x-k8s.io/v1beta2", "workloads"),
        **{(API_VERSION, str(kind)): (f"/apis/{API_VERSION}", kind.plural) for kind in Kind},
    }
)


class ClusterError(Exception):
    """The API server did not do what was asked. `status` 0: it was not reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} ({status})")
        self.status = status
        self.message = message


class Transient(ClusterError):
    """Try again: not reached, overloaded, or a conflict with another writer."""


class Refused(ClusterError):
    """The API server will not do this as it is: 400, 403, 422."""


class ChildRefused(Refused):
    """A child is not taken as it is: quota, admission, or an invalid manifest."""


class NotAllowed(Refused):
    """The operator itself lacks a right: 403 by the cluster's authorization."""


class Gone(ClusterError):
    """The object, its namespace or its kind does not exist."""


def object_path(api_version: str, kind: str, namespace: str | None, name: str | None = None) -> str:
    """The URL path of an object or, without a name, of a collection."""
    prefix, plural = _RESOURCES[(api_version, kind)]
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{prefix}{scope}/{plural}" + (f"/{name}" if name else "")


def manifest_path(manifest: Manifest) -> str:
    """The URL path of the object that a manifest describes."""
    meta = manifest["metadata"]
    return object_path(manifest["apiVersion"], manifest["kind"], meta["namespace"], meta["name"])


def _error(status: int, body: bytes) -> ClusterError:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")[:200] or "no message"
    if status == 403 and _LACKS_A_RIGHT.search(message):
        return NotAllowed(status, message)
    kind = {400: Refused, 403: Refused, 404: Gone, 422: Refused}.get(status, Transient)
    return kind(status, message)


class Client:
    """Calls to one API server; every one ends within `REQUEST_SECONDS`."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._host: str = api.configuration.host
        self._rest: RESTClientObject = api.rest_client

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Manifest:
        """One request. Raises `ClusterError`."""
        headers = {"Accept": accept, "Content-Type": content_type}
        headers["User-Agent"] = "llmcloud-operator"
        await self._api.update_params_for_auth(headers, [], ["BearerToken"])
        url = self._host + path + (f"?{urlencode(query)}" if query else "")
        try:
            response = await self._rest.request(
                method, url, headers=headers, body=body, _request_timeout=REQUEST_SECONDS
            )
        except ApiException as error:
            raise _error(error.status, error.body or b"") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(0, f"The API server was not reached: {error!r}") from error
        try:
            result: Manifest = json.loads(response.data)
        except ValueError as error:
            raise Transient(0, "The API server's answer is not JSON") from error
        return result

    async def get(self, path: str) -> Manifest | None:
        """The object, or None if it does not exist."""
        try:
            return await self.call("GET", path)
        except Gone:
            return None

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", accept: str = JSON
    ) -> tuple[list[Manifest], str]:
        """All items, in pages, and the resource version of the list."""
        query = {"limit": str(_PAGE)}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        items: list[Manifest] = []
        while True:
            page = await self.call("GET", path, query=query, accept=accept)
            items.extend(page.get("items") or [])
            token = page["metadata"].get("continue")
            if not token:
                return items, page["metadata"].get("resourceVersion", "")
            query["continue"] = token

    async def apply(self, manifest: Manifest, manager: str, subresource: str = "") -> Manifest:
        """Server-side apply of the whole intent; conflicts are ours to win."""
        path = manifest_path(manifest) + (f"/{subresource}" if subresource else "")
        return await self.call(
            "PATCH",
            path,
            query={"fieldManager": manager, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def delete(self, ref: ObjectRef) -> None:
        """Delete with the uid as precondition; an absent or another object is fine."""
        path = object_path(ref.api_version, ref.kind, ref.namespace, ref.name)
        body = {"propagationPolicy": "Background", "preconditions": {"uid": ref.uid}}
        try:
            await self.call("DELETE", path, body=body)
        except Gone:
            return
        except Transient as error:
            if error.status != 409:
                raise


@asynccontextmanager
async def connect() -> AsyncIterator[Client]:
    """A client for the cluster that this process runs in, or that KUBECONFIG names."""
    configuration = Configuration()
    try:
        config.load_incluster_config(configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)
    configuration.connection_pool_maxsize = _CONNECTIONS
    async with ApiClient(configuration) as api:
        library = api.rest_client.pool_manager
        # The library's session would look into ~/.netrc for a proxy's password at every request.
        api.rest_client.pool_manager = aiohttp.ClientSession(
            connector=library.connector, connector_owner=False, trust_env=False
        )
        try:
            yield Client(api)
        finally:
            await api.rest_client.pool_manager.close()
            api.rest_client.pool_manager = library
