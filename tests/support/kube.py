"""A small synchronous client for tests: real requests to a real API server."""

import base64
import json
import ssl
import tempfile
import time
import weakref
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

import yaml

from llmcloud.api.names import API_VERSION, Kind

Object = dict[str, Any]
IDLE_SECONDS = 30.0

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
    **{str(kind): f"/apis/{API_VERSION}/namespaces/{{ns}}/{kind.plural}" for kind in Kind},
}


def _close(idle: list[tuple[float, HTTPSConnection]]) -> None:
    for _, connection in idle:
        connection.close()


class Kube:
    """The administrator's view of one cluster; its connections are used again."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]))
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._context.load_cert_chain(pair.name)
        self._idle: list[tuple[float, HTTPSConnection]] = []
        weakref.finalize(self, _close, self._idle)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        **query: str,
    ) -> Object:
        """One request. Raises HTTPError; its `reason` is the API server's message."""
        target = path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        connection = self._take()
        try:
            connection.request(method, target, data, {"Content-Type": content_type})
            response = connection.getresponse()
            result: Object = json.loads(response.read() or b"{}")
        except (OSError, HTTPException):
            connection.close()  # it may hold half an answer
            raise
        self._idle.append((time.monotonic(), connection))
        if response.status >= 400:
            message = result.get("message", "")
            raise HTTPError(self.server + target, response.status, message, response.headers, None)
        return result

    def _take(self) -> HTTPSConnection:
        """An idle connection that the server cannot have closed yet, or a new one."""
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS:
                return connection
            connection.close()
        server = urlsplit(self.server)
        assert server.hostname is not None
        return HTTPSConnection(server.hostname, server.port, timeout=30, context=self._context)

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
