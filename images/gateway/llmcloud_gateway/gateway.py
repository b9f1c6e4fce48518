"""What clients ask for, answered: models from the routes, generations from the engines."""

import asyncio
import json
from typing import NamedTuple

from llmcloud.api.contract import Route
from llmcloud_gateway.errors import GatewayError, body_invalid, model_not_found
from llmcloud_gateway.keys import Keys
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.paths import Action, match
from llmcloud_gateway.relay import Call
from llmcloud_gateway.request import Request
from llmcloud_gateway.response import Response
from llmcloud_gateway.routes import LiveRoute, Routes


class _Wanted(NamedTuple):
    model: str
    stream: bool


class Gateway:
    """The handler of the public port."""

    def __init__(self, routes: Routes, keys: Keys, limits: Limits) -> None:
        self._routes = routes
        self._keys = keys
        self._limits = limits
        self._clock = asyncio.get_running_loop().time

    async def handle(self, request: Request, response: Response) -> None:
        matched = match(request.method, request.target)
        if matched.action is Action.GENERATE:
            await self._generate(request, response, matched.namespace, matched.detail)
        elif matched.action is Action.HEALTH:
            response.send(200, b"ok\n", b"text/plain")
        elif matched.action is Action.LIST_MODELS:
            self._require_routes()
            presented = self._keys.presented(request.headers)
            listed = self._routes.models(matched.namespace)
            models = [_model(route) for route in listed if presented.sees(route)]
            response.send(200, json.dumps({"object": "list", "data": models}).encode())
        else:
            live = self._find(request, matched.namespace, matched.detail)
            response.send(200, json.dumps(_model(live.route)).encode())

    async def _generate(
        self, request: Request, response: Response, namespace: str | None, path: str
    ) -> None:
        wanted = _wanted(request.body)
        live = self._find(request, namespace, wanted.model)
        live.arrive()
        arrived = self._clock()
        code = 499
        try:
            call = Call(
                request, response, live, path, wanted.stream, self._limits, self._clock, arrived
            )
            code = await call.forward()
        except GatewayError as error:
            code = error.status
            raise
        finally:
            live.stats.ended(code, self._clock() - arrived)

    def _find(self, request: Request, namespace: str | None, model: str) -> LiveRoute:
        self._require_routes()
        live = self._routes.find(namespace, model)
        if live is None:
            raise model_not_found(model, namespace)
        if not live.route.anonymous:
            presented = self._keys.presented(request.headers)
            if presented.opening(live.route) is None:
                raise presented.refusal(live.route)
        return live

    def _require_routes(self) -> None:
        if not (self._routes.loaded and self._keys.loaded):
            raise GatewayError(
                503,
                "RoutesNotLoaded",
                "This gateway has not read its routes and keys yet. Try again.",
                retry_after_seconds=1,
            )


def _wanted(body: bytes) -> _Wanted:
    """What routing needs of the body; the engine judges the rest."""
    try:
        said = json.loads(body)
    except RecursionError:
        raise body_invalid("it is nested too deep.") from None
    except ValueError as error:
        raise body_invalid(f"it is not JSON ({error}).") from None
    if not isinstance(said, dict):
        raise body_invalid("it is not a JSON object.")
    model = said.get("model")
    if not isinstance(model, str) or not model:
        raise body_invalid('"model" must name the model to use; GET /v1/models lists them.')
    return _Wanted(model, said.get("stream") is True)


def _model(route: Route) -> dict[str, object]:
    return {
        "id": route.model,
        "object": "model",
        "created": route.created,
        "owned_by": route.namespace,
    }
