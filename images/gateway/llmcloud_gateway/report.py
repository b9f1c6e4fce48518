"""The report port: what the operator, Prometheus and the kubelet ask this gateway."""

import json
from collections.abc import Callable

from llmcloud_gateway.errors import GatewayError
from llmcloud_gateway.keys import Keys
from llmcloud_gateway.metrics import Metrics
from llmcloud_gateway.request import Request
from llmcloud_gateway.response import Response
from llmcloud_gateway.routes import Routes

_TEXT = b"text/plain; charset=utf-8"
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"


class Report:
    """GET /samples, /metrics, /healthz and /ready; ready: routes and keys read once, and not
    draining."""

    def __init__(
        self, routes: Routes, keys: Keys, metrics: Metrics, draining: Callable[[], bool]
    ) -> None:
        self._routes = routes
        self._keys = keys
        self._metrics = metrics
        self._draining = draining

    async def handle(self, request: Request, response: Response) -> None:
        path = request.target.partition(b"?")[0]
        if request.method != b"GET":
            raise GatewayError(405, "MethodNotAllowed", "Only GET is allowed here.")
        if path == b"/samples":
            samples = self._routes.samples().model_copy(
                update={"gateway": self._keys.gateway, "keys": self._keys.samples()}
            )
            response.send(200, json.dumps(samples.wire()).encode())
        elif path == b"/metrics":
            response.send(200, self._metrics.text(), _METRICS)
        elif path == b"/healthz":
            response.send(200, b"ok\n", _TEXT)
        elif path == b"/ready":
            self._ready(response)
        else:
            raise GatewayError(
                404, "NotFound", "Here are /samples, /metrics, /healthz and /ready only."
            )

    def _ready(self, response: Response) -> None:
        if self._draining():
            response.send(503, b"draining\n", _TEXT)
        elif not self._routes.loaded:
            response.send(503, b"the routes have not been read yet\n", _TEXT)
        elif not self._keys.loaded:
            response.send(503, b"the keys have not been read yet\n", _TEXT)
        else:
            response.send(200, b"ready\n", _TEXT)
