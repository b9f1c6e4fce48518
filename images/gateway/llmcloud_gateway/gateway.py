"""What clients ask for, answered: models from the routes, generations from the engines."""

import asyncio
import json

from llmcloud_gateway.admission import Admission
from llmcloud_gateway.affinity import prompt_blocks
from llmcloud_gateway.errors import GatewayError, model_not_found
from llmcloud_gateway.keys import AccessKey, Keys
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.paths import GENERATING, Action, Match, match
from llmcloud_gateway.prompts import with_prompt
from llmcloud_gateway.relay import Call
from llmcloud_gateway.request import Request
from llmcloud_gateway.response import Response
from llmcloud_gateway.routes import Routes, Served
from llmcloud_gateway.traces import Span, Traces
from llmcloud_gateway.wanted import read_wanted


class Gateway:
    """The handler of the public port."""

    def __init__(
        self, routes: Routes, keys: Keys, limits: Limits, traces: Traces | None = None
    ) -> None:
        self._routes = routes
        self._traces = traces
        self._keys = keys
        self._limits = limits
        self._clock = asyncio.get_running_loop().time

    def screen(self, headers: dict[bytes, bytes]) -> None:
        """Refuses a request before its body is read, where no route is open to all."""
        if self._routes.loaded and self._keys.loaded and not self._routes.anonymous:
            self._keys.screen(headers)

    async def handle(self, request: Request, response: Response) -> None:
        matched = match(request.method, request.target)
        if matched.action is Action.ASK_MODEL:
            if self._traces is None:
                await self._ask(request, response, matched.namespace, matched.detail, None)
            else:
                await self._trace(self._traces, request, response, matched)
        elif matched.action is Action.HEALTH:
            response.send(200, b"ok\n", b"text/plain")
        elif matched.action is Action.LIST_MODELS:
            self._require_routes()
            presented = self._keys.presented(request.headers)
            listed = self._routes.models(matched.namespace)
            models = [_card(s) for s in listed if presented.sees(s.live.route)]
            response.send(200, json.dumps({"object": "list", "data": models}).encode())
        else:
            served, _ = self._find(request, matched.namespace, matched.detail)
            response.send(200, json.dumps(_card(served)).encode())

    async def _trace(
        self, traces: Traces, request: Request, response: Response, matched: Match
    ) -> None:
        span = traces.begin(f"POST {matched.detail}", request.headers.get(b"traceparent", b""))
        if span is not None:
            request.headers[b"traceparent"] = span.traceparent
        code = 499
        try:
            await self._ask(request, response, matched.namespace, matched.detail, span)
            code = response.status
        except GatewayError as error:
            code = error.status
            if span is not None:
                span.attributes["error.type"] = error.reason
            raise
        finally:
            if span is not None:
                span.attributes["http.response.status_code"] = code
                traces.end(span)

    async def _ask(
        self,
        request: Request,
        response: Response,
        namespace: str | None,
        path: str,
        span: Span | None,
    ) -> None:
        wanted = read_wanted(request.body)
        served, key = self._find(request, namespace, wanted.model)
        live = served.live
        if span is not None:
            span.attributes["gen_ai.request.model"] = wanted.model
            span.attributes["k8s.namespace.name"] = live.route.namespace
            span.attributes["llmcloud.deployment"] = live.route.name
        if served.prompt is not None:
            most_bytes = self._limits.body_bytes
            body = with_prompt(served.prompt, wanted.said, live.route.model, path, most_bytes)
            request.change_body(body)
            wanted = read_wanted(body)
        admission = Admission(key.budget) if key is not None else None
        call: Call | None = None
        try:
            if admission is not None:
                await admission.enter(request, wanted, generates=path in GENERATING)
            call = Call(
                request,
                response,
                live,
                path,
                wanted.stream,
                self._limits,
                self._clock,
                self._clock(),
                blocks=prompt_blocks(wanted.model, request.body),
                hides_usage=admission is not None and admission.hides_usage,
            )
            await self._forward(call)
        finally:
            if admission is not None:
                admission.settle(call)
            if span is not None and call is not None:
                _describe(span, call)

    async def _forward(self, call: Call) -> None:
        live = call.live
        live.arrive()
        code = 499
        try:
            code = await call.forward()
        except GatewayError as error:
            code = error.status
            raise
        finally:
            live.stats.ended(code, self._clock() - call.arrived)

    def _find(
        self, request: Request, namespace: str | None, model: str
    ) -> tuple[Served, AccessKey | None]:
        """What is served under a name, and the key that opens it unless it is open to all."""
        self._require_routes()
        served = self._routes.find(namespace, model)
        if served is None:
            raise model_not_found(model, namespace)
        route = served.live.route
        if route.anonymous:
            return served, None
        presented = self._keys.presented(request.headers)
        key = presented.opening(route)
        if key is None:
            raise presented.refusal(route)
        return served, key

    def _require_routes(self) -> None:
        if not (self._routes.loaded and self._keys.loaded):
            raise GatewayError(
                503,
                "RoutesNotLoaded",
                "This gateway has not read its routes and keys yet. Try again.",
                retry_after_seconds=1,
            )


def _card(served: Served) -> dict[str, object]:
    route = served.live.route
    return {
        "id": served.model,
        "object": "model",
        "created": route.created,
        "owned_by": route.namespace,
    }


def _describe(span: Span, call: Call) -> None:
    input_tokens, output_tokens = call.usage.tokens()
    span.attributes["server.address"] = call.replica
    span.attributes["gen_ai.usage.input_tokens"] = input_tokens
    span.attributes["gen_ai.usage.output_tokens"] = output_tokens
    if call.first_byte is not None:
        span.attributes["llmcloud.time_to_first_token_seconds"] = call.first_byte - call.arrived
