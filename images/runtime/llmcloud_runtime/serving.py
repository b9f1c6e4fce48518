"""The OpenAI dialect of one model: transformers' own serving handlers behind three paths.

`transformers serve` as a command answers to "NAME@main", loads and unloads models on anybody's
request, generates past the model's context and ends streams without `[DONE]`. Here its handlers
run on one loaded model, bounded by its context. Requests are generated one after the other:
its continuous batching gives all requests the sampling of the first.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.completion import CompletionHandler
from transformers.cli.serving.model_manager import ModelManager
from transformers.cli.serving.utils import BaseGenerateManager, GenerateManager, GenerationState

from llmcloud_runtime.adapters import Adapters
from llmcloud_runtime.answers import UnknownModel, answer_errors, request_id
from llmcloud_runtime.requests import (
    COMPLETION_TOKENS,
    check_chat,
    check_completion,
    tokens_to_generate,
)
from llmcloud_runtime.stopping import StopFilter, before_stop


class LoadedModel:
    """The one model, and what transformers' handlers ask a model manager for."""

    force_model = None
    get_model_modality = staticmethod(ModelManager.get_model_modality)

    def __init__(self, name: str, folder: Path, created: int) -> None:
        """Load from `folder`: safetensors only, no code of the model's own."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = name
        self.created = created
        self.tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
            folder, local_files_only=True
        )
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", device_map=device, local_files_only=True, use_safetensors=True
        )
        self.context_tokens = int(self.model.config.max_position_embeddings)


class _BoundedGeneration(GenerateManager):
    """Sequential generation that ends where the context ends, with one adapter or none."""

    def __init__(self, context_tokens: int) -> None:
        super().__init__()
        self._context_tokens = context_tokens
        self._select: Callable[[], None] | None = None

    def having(self, select: Callable[[], None]) -> "_BoundedGeneration":
        """One that calls `select` before each generation, in the same thread as this one's."""
        other = copy.copy(self)
        other._select = select
        return other

    def submit(self, fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return super().submit(self._selected, fn, *args, **named)

    def async_submit(self, fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return super().async_submit(self._selected, fn, *args, **named)

    def _selected(self, fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self._select is not None:
            self._select()
        return fn(*args, **named)

    def _bound(self, inputs: dict[str, Any], config: GenerationConfig) -> None:
        prompt_tokens = inputs["input_ids"].shape[-1]
        config.max_new_tokens = tokens_to_generate(
            config.max_new_tokens, prompt_tokens, self._context_tokens
        )

    def generate_streaming(
        self, model: Any, processor: Any, inputs: Any, gen_config: Any, *args: Any, **named: Any
    ) -> Any:
        self._bound(inputs, gen_config)
        queue, streamer = super().generate_streaming(
            model, processor, inputs, gen_config, *args, **named
        )
        return _StoppingQueue(queue, _stops(gen_config)), streamer

    async def generate_non_streaming(
        self, model: Any, processor: Any, inputs: Any, gen_config: Any, *args: Any, **named: Any
    ) -> Any:
        self._bound(inputs, gen_config)
        text, *rest = await super().generate_non_streaming(
            model, processor, inputs, gen_config, *args, **named
        )
        return before_stop(text, _stops(gen_config)), *rest


class _StoppingQueue:
    """The text of a generation as it comes, without its stop string; None at the end."""

    def __init__(self, queue: "asyncio.Queue[Any]", stops: list[str]) -> None:
        self._queue = queue
        self._filter = StopFilter(stops)
        self._ended = False

    async def get(self) -> Any:
        if self._ended:
            return None
        return self._filtered(await self._queue.get())

    def get_nowait(self) -> Any:
        if self._ended:
            self._ended = False
            return None
        return self._filtered(self._queue.get_nowait())

    def _filtered(self, item: Any) -> Any:
        if isinstance(item, str):
            return self._filter.feed(item)
        if item is None and (rest := self._filter.end()):
            self._ended = True
            return rest
        return item


def _stops(config: GenerationConfig) -> list[str]:
    stops = config.stop_strings or []
    return [stops] if isinstance(stops, str) else list(stops)


class _OneGeneration(GenerationState):
    """All endpoints share one generation thread."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self._manager = _BoundedGeneration(loaded.context_tokens)
        self.adapters = Adapters(loaded.model, loaded.name, self._manager.async_submit)

    def get_manager(self, model_id: str, use_cb: bool = False) -> BaseGenerateManager:
        adapter = self.adapters.find(model_id)
        weights = adapter.weights if adapter else None
        return self._manager.having(partial(self.adapters.select, weights))


class _OneModel:
    """Mixed into a handler: the loaded model under its served name, OpenAI's defaults."""

    model_manager: LoadedModel
    generation_state: _OneGeneration
    default_tokens: int | None

    def _resolve_model(self, body: dict[str, Any]) -> tuple[str, Any, Any]:
        loaded, name = self.model_manager, str(body.get("model"))
        if name != loaded.name and self.generation_state.adapters.find(name) is None:
            raise UnknownModel(f"This engine serves the model {loaded.name} only, not {name}.")
        return name, loaded.model, loaded.tokenizer

    def _build_generation_config(
        self, body: dict[str, Any], base: Any, use_cb: bool = False
    ) -> Any:
        config = super()._build_generation_config(body, base, use_cb=use_cb)  # type: ignore[misc]
        if body.get("temperature"):
            config.do_sample = True
        if body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
            config.max_new_tokens = self.default_tokens
        return config

    def _streaming(self, *args: Any, **named: Any) -> StreamingResponse:
        response = super()._streaming(*args, **named)  # type: ignore[misc]
        return StreamingResponse(
            _closed_by_done(response.body_iterator), media_type="text/event-stream"
        )


class _Chat(_OneModel, ChatCompletionHandler):
    default_tokens = None


class _Completion(_OneModel, CompletionHandler):
    default_tokens = COMPLETION_TOKENS


async def _closed_by_done(chunks: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The chunks, then OpenAI's end of a stream. Closing it cancels the generation."""
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk
    yield "data: [DONE]\n\n"


def build_app(loaded: LoadedModel, *, with_adapters: bool = False) -> FastAPI:
    """GET /v1/models, /health; POST /v1/chat/completions, /v1/completions. Nothing else, but
    vLLM's paths for adapters if it is to have them: gateways forward neither."""
    generation = _OneGeneration(loaded)
    chat = _Chat(loaded, generation)
    completion = _Completion(loaded, generation)
    app = FastAPI(openapi_url=None)
    card = {
        "id": loaded.name,
        "object": "model",
        "created": loaded.created,
        "owned_by": "llmcloud",
        "max_model_len": loaded.context_tokens,
    }
    if with_adapters:
        app.post("/v1/load_lora_adapter")(generation.adapters.load)
        app.post("/v1/unload_lora_adapter")(generation.adapters.unload)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card, *generation.adapters.cards(loaded.created)]}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(request: Request, body: dict[str, Any]) -> Response:
        check_chat(body)
        return await chat.handle_request(body, request_id(request, "chatcmpl"))

    @app.post("/v1/completions", response_model=None)
    async def completions(request: Request, body: dict[str, Any]) -> Response:
        check_completion(body)
        return await completion.handle_request(body, request_id(request, "cmpl"))

    answer_errors(app)
    return app
