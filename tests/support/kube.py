"""A small synchronous client for tests: real requests to a real API server."""

import json
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies

import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import load_kube_config

from llmcloud.api.names import API_VERSION, Kind

Object = dict[str, Any]
REQUEST_SECONDS = 30.0

PATHS = {
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
    **{
        kind: f"/api/v1/namespaces/{{ns}}/{plural}"
        for kind, plural in (
            ("Secret", "secrets"),
            ("ConfigMap", "configmaps"),
            ("Service", "services"),
            ("Pod", "pods"),
            ("Event", "events"),
            ("ResourceQuota", "resourcequotas"),
            ("LimitRange", "limitranges"),
        )
    },
    "Job": "/apis/batch/v1/namespaces/{ns}/jobs",
    "Deployment": "/apis/apps/v1/namespaces/{ns}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{ns}/statefulsets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{ns}/networkpolicies",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases",
    "ResourceFlavor": "/apis/kueue.x-k8s.io/v1beta2/resourceflavors",
    "ClusterQueue": "/apis/kueue.x-k8s.io/v1beta2/clusterqueues",
    "LocalQueue": "/apis/kueue.x-k8s.io/v1beta2/namespaces/{ns}/localqueues",
    "Workload": "/apis/kueue.x-k8s.io/v1beta2/namespaces/{ns}/workloads",
    **{str(kind): f"/apis/{API_VERSION}/namespaces/{{ns}}/{kind.plural}" for kind in Kind},
}


class Kube:
    """What the current context of a kubeconfig may do; its connections are used again.

    Certificates, tokens and credential plugins are the official client's work.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._settings = Configuration()
        load_kube_config(str(kubeconfig), client_configuration=self._settings)
        self.server: str = self._settings.host
        self._settings.proxy = getproxies().get(urlsplit(self.server).scheme)
        self._http: urllib3.PoolManager = RESTClientObject(self._settings).pool_manager

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        **query: str,
    ) -> Object:
        """One request. Raises URLError; an HTTPError's `reason` is the API server's message."""
        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        for login in self._settings.auth_settings().values():
            headers[login["key"]] = login["value"]
        try:
            response = self._http.request(
                method, url, body=data, headers=headers, retries=False, timeout=REQUEST_SECONDS
            )
        except urllib3.exceptions.HTTPError as error:
            raise URLError(str(error)) from error
        result: Object = json.loads(response.data or b"{}")
        if response.status >= 400:
            raise HTTPError(url, response.status, result.get("message", ""), Message(), None)
        return result

    def _path(self, kind: str, namespace: str, name: str = "") -> str:
        return PATHS[kind].format(ns=namespace) + (f"/{name}" if name else "")

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        try:
            return self.call("GET", self._path(kind, namespace, name))
        except HTTPError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: str, namespace: str, labels: str = "") -> list[Object]:
        """All objects of a namespace."""
        query = {"labelSelector": labels} if labels else {}
        items: list[Object] = self.call("GET", self._path(kind, namespace), **query)["items"]
        return items

    def create(self, manifest: Object) -> Object:
        """Make an object that is not there yet."""
        namespace = manifest["metadata"].get("namespace", "")
        return self.call("POST", self._path(manifest["kind"], namespace), manifest)

    def apply(self, manifest: Object, subresource: str = "", **query: str) -> Object:
        """Server-side apply as field manager `test`."""
        meta = manifest["metadata"]
        path = self._path(manifest["kind"], meta.get("namespace", ""), meta["name"])
        return self.call(
            "PATCH",
            path + (f"/{subresource}" if subresource else ""),
            manifest,
            "application/apply-patch+yaml",
            fieldManager="test",
            force="true",
            **query,
        )

    def patch(self, kind: str, namespace: str, name: str, body: Object, sub: str = "") -> Object:
        """A merge patch."""
        path = self._path(kind, namespace, name) + (f"/{sub}" if sub else "")
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete in the background; an absent object is fine."""
        try:
            body = {"propagationPolicy": "Background"}
            self.call("DELETE", self._path(kind, namespace, name), body)
        except HTTPError as error:
            if error.code != 404:
                raise

    def namespace(self, name: str) -> str:
        """Make a namespace that enforces Pod Security restricted."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        meta = {"name": name, "labels": labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        return name


def condition(owner: Object | None, type_: str = "Ready") -> Object:
    """A condition of an object; empty if there is none."""
    conditions = ((owner or {}).get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == type_), {})


def status_of(owner: Object | None) -> Object:
    """The status of an object; empty if there is none."""
    status: Object = (owner or {}).get("status") or {}
    return status
