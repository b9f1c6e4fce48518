"""A small synchronous client for tests: real requests to a real API server."""

import base64
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPSHandler, Request, build_opener

import yaml

from llmcloud.api.names import API_VERSION, Kind

Object = dict[str, Any]

PATHS = {
    "Namespace": "/api/v1/namespaces",
    **{
        kind: f"/api/v1/namespaces/{{ns}}/{plural}"
        for kind, plural in (
            ("Secret", "secrets"),
            ("ConfigMap", "configmaps"),
            ("Pod", "pods"),
            ("Event", "events"),
            ("ResourceQuota", "resourcequotas"),
            ("LimitRange", "limitranges"),
        )
    },
    "Job": "/apis/batch/v1/namespaces/{ns}/jobs",
    "Deployment": "/apis/apps/v1/namespaces/{ns}/deployments",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases",
    **{str(kind): f"/apis/{API_VERSION}/namespaces/{{ns}}/{kind.plural}" for kind in Kind},
}


class Kube:
    """The administrator's view of one cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]))
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
        self._opener = build_opener(HTTPSHandler(context=context))

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        **query: str,
    ) -> Object:
        """One request. Raises HTTPError; its `reason` is the API server's message."""
        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data=data, method=method, headers={"Content-Type": content_type})
        try:
            with self._opener.open(request, timeout=30) as response:
                result: Object = json.loads(response.read())
                return result
        except HTTPError as error:
            message = json.loads(error.read() or b"{}").get("message", "")
            raise HTTPError(url, error.code, message, error.headers, None) from None

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

    def apply(self, manifest: Object, subresource: str = "") -> Object:
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
