"""Errors as OpenAI's clients expect them: status, JSON body, and the gateway's own reason.

The reason is also the header X-Llmcloud-Reason, so that a client or a log can tell the gateway's
answers from an engine's.
"""

import json

ENGINE_ERROR_BYTES = 64 << 10
"""How much of an engine's error body is kept."""


class GatewayError(Exception):
    """An answer of the gateway's own. `code` is OpenAI's `error.code`, by default from `reason`."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.code = code or _snake_case(reason)
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-llmcloud-reason", self.reason.encode())]
        if self.retry_after_seconds is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after_seconds))
        return headers

    def body(self) -> bytes:
        return error_body(self.status, self.message, self.code, self.param)


def error_body(status: int, message: str, code: str | None, param: str | None = None) -> bytes:
    """OpenAI's error object as JSON, on one line."""
    error = {"message": message, "type": _error_type(status), "param": param, "code": code}
    return json.dumps({"error": error}).encode()


def engine_error_body(status: int, body: bytes) -> bytes:
    """An engine's error in OpenAI's format, on one line; unchanged in meaning if it has it already.

    FastAPI engines say {"detail": ...}; others say plain text.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        error = said.get("error")
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return json.dumps(said).encode()
        detail = error or said.get("detail") or said.get("message") or said
        message = detail if isinstance(detail, str) else json.dumps(detail)
    else:
        message = body.decode(errors="replace").strip() or "the engine answered without a body"
    return error_body(status, message, "engine_error")


def not_found(target: str) -> GatewayError:
    return GatewayError(
        404,
        "NotFound",
        f"Nothing is at {target[:200]!r}. The gateway serves /v1/models, /v1/chat/completions, "
        "/v1/completions, /v1/embeddings, /classify and /pooling, the same below /ns/NAMESPACE, "
        "and /healthz.",
    )


def method_not_allowed(method: str, allowed: str) -> GatewayError:
    return GatewayError(
        405, "MethodNotAllowed", f"{method[:20]} is not allowed here, use {allowed}."
    )


def model_not_found(model: str, namespace: str | None) -> GatewayError:
    prefix = "" if namespace is None else f"/ns/{namespace}"
    where = "" if namespace is None else f" in namespace {namespace!r}"
    return GatewayError(
        404,
        "ModelNotFound",
        f"The model {model[:200]!r} does not exist{where}. GET {prefix}/v1/models lists the models "
        "served here; a model is an LLMDeployment's spec.servedModelName.",
        param="model",
    )


def body_invalid(problem: str, param: str | None = None) -> GatewayError:
    return GatewayError(
        400, "BodyInvalid", f"The body is not a usable request: {problem}", param=param
    )


def key_required() -> GatewayError:
    return GatewayError(
        401,
        "KeyRequired",
        "This model takes no anonymous requests. Send a key as `Authorization: Bearer KEY`; who "
        "runs the model makes one with `llmcloud key new`.",
        code="invalid_api_key",
    )


def key_unusable(reason: str, message: str) -> GatewayError:
    return GatewayError(401, reason, message, code="invalid_api_key")


def model_not_allowed(model: str) -> GatewayError:
    return GatewayError(
        403,
        "ModelNotAllowed",
        f"The key does not open the model {model!r}. GET /v1/models lists what it opens; models "
        "of its own namespace answer below /ns/NAMESPACE/v1 too.",
    )


def http_invalid(problem: str) -> GatewayError:
    return GatewayError(400, "HttpInvalid", f"This is not a valid HTTP/1.1 request: {problem}.")


def pipeline_full() -> GatewayError:
    return GatewayError(429, "PipelineFull", "Too many requests were pipelined.")


def head_too_large(most_bytes: int) -> GatewayError:
    return GatewayError(
        431, "HeadTooLarge", f"Request line and headers are larger than {most_bytes} bytes."
    )


def body_too_large(most_bytes: int) -> GatewayError:
    return GatewayError(
        413,
        "BodyTooLarge",
        f"The body is larger than {most_bytes} bytes, the most that is accepted.",
    )


def buffers_full() -> GatewayError:
    return GatewayError(
        503,
        "BuffersFull",
        "This gateway holds as many request bodies as it may. Try again.",
        retry_after_seconds=1,
    )


def too_many_connections(most: int) -> GatewayError:
    return GatewayError(
        503,
        "TooManyConnections",
        f"This gateway already serves {most} connections. Try again, or run more gateways.",
        retry_after_seconds=1,
    )


def request_timeout() -> GatewayError:
    return GatewayError(408, "RequestTimeout", "The request did not arrive in time. Send it again.")


def _error_type(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def _snake_case(reason: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in reason).lstrip("_")
