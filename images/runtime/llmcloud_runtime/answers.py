"""What all of the engine's endpoints answer alike: errors in OpenAI's shape, and request ids."""

import uuid

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from llmcloud_runtime.requests import InvalidRequest


class UnknownModel(ValueError):
    """A request for a model that is not served here."""


def request_id(request: Request, kind: str) -> str:
    """The gateway's id of the request, or one of its own."""
    return request.headers.get("x-request-id") or f"{kind}-{uuid.uuid4().hex}"


def answer_errors(app: FastAPI) -> None:
    """Every error in OpenAI's shape."""

    def answer(
        status: int, message: str, kind: str, param: str | None = None, code: str | None = None
    ) -> JSONResponse:
        error = {"message": message, "type": kind, "param": param, "code": code}
        return JSONResponse({"error": error}, status_code=status)

    @app.exception_handler(InvalidRequest)
    async def invalid(_: Request, error: InvalidRequest) -> JSONResponse:
        return answer(400, str(error), "invalid_request_error", error.param)

    @app.exception_handler(UnknownModel)
    async def unknown(_: Request, error: UnknownModel) -> JSONResponse:
        return answer(404, str(error), "invalid_request_error", "model", "model_not_found")

    @app.exception_handler(RequestValidationError)
    async def no_object(_: Request, error: RequestValidationError) -> JSONResponse:
        return answer(400, "The body must be a JSON object.", "invalid_request_error")

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        status = 400 if error.status_code == 422 else error.status_code
        return answer(status, str(error.detail), "invalid_request_error")

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return answer(500, "The engine failed; its log has the cause.", "server_error")
