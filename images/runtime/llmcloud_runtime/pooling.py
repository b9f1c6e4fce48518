"""Models that do not generate: embeddings, labels of texts, labels of tokens.

The shapes are OpenAI's for /v1/embeddings and vLLM's for /classify and /pooling; to the latter,
which gives a row of probabilities for every token, each token's text, place and label are added.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from fastapi import FastAPI, Request
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from llmcloud_runtime.answers import UnknownModel, answer_errors, request_id
from llmcloud_runtime.requests import InvalidRequest, check_length, texts_of

PoolingTask = Literal["embed", "classify", "token_classify"]
BATCH = 32
"""Texts in one pass, the shortest together."""
_CLASSES = {
    "embed": AutoModel,
    "classify": AutoModelForSequenceClassification,
    "token_classify": AutoModelForTokenClassification,
}
_PATHS: dict[PoolingTask, str] = {
    "embed": "/v1/embeddings",
    "classify": "/classify",
    "token_classify": "/pooling",
}


def task_of(folder: Path) -> PoolingTask | None:
    """What the model in `folder` is for, by its architecture; None: it generates."""
    architecture = (
        AutoConfig.from_pretrained(folder, local_files_only=True).architectures or [""]
    )[0]
    if architecture.endswith("ForSequenceClassification"):
        return "classify"
    if architecture.endswith("ForTokenClassification"):
        return "token_classify"
    if architecture.endswith(("ForMaskedLM", "Model")) and not architecture.endswith("LMHeadModel"):
        return "embed"
    return None


class PooledModel:
    """The one model. `outputs` is called by one thread at a time."""

    def __init__(self, name: str, folder: Path, created: int, task: PoolingTask) -> None:
        """Load from `folder`: safetensors only, no code of the model's own."""
        self.name = name
        self.created = created
        self.task = task
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = _CLASSES[task].from_pretrained(
            folder,
            dtype="auto",
            device_map=self.device,
            local_files_only=True,
            use_safetensors=True,
        )
        self.model.eval()
        config = self.model.config
        self.context_tokens = int(
            min(config.max_position_embeddings, self.tokenizer.model_max_length)
        )
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
            config.pad_token_id = self.tokenizer.pad_token_id
        self.pools_first_token = _pools_first_token(folder)

    def encode(self, texts: list[str]) -> list[Any]:
        """Token ids and offsets of every text. Raises InvalidRequest for one that is too long."""
        encoded = [self.tokenizer(text, return_offsets_mapping=True) for text in texts]
        for number, one in enumerate(encoded):
            check_length(number, len(one["input_ids"]), self.context_tokens)
        return encoded

    def outputs(self, encoded: list[Any]) -> list[list[Any]]:
        """For each text an embedding, the probabilities of its labels, or those of its tokens."""
        order = sorted(range(len(encoded)), key=lambda n: len(encoded[n]["input_ids"]))
        found: list[list[Any]] = [[] for _ in encoded]
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            for number, output in zip(
                numbers, self._pass([encoded[n] for n in numbers]), strict=True
            ):
                found[number] = output.float().cpu().tolist()
        return found

    @torch.inference_mode()
    def _pass(self, encoded: list[Any]) -> list[Any]:
        rows = [{"input_ids": one["input_ids"]} for one in encoded]
        batch = self.tokenizer.pad(rows, padding=True, padding_side="right", return_tensors="pt")
        batch = batch.to(self.device)
        result = self.model(**batch)
        if self.task == "embed":
            return list(self._pooled(result.last_hidden_state, batch["attention_mask"]))
        probabilities = self._probabilities(result.logits.float())
        if self.task == "classify":
            return list(probabilities)
        lengths = [len(one["input_ids"]) for one in encoded]
        return [row[:length] for row, length in zip(probabilities, lengths, strict=True)]

    def _pooled(self, states: Any, mask: Any) -> Any:
        states = states.float()
        if self.pools_first_token:
            pooled = states[:, 0]
        else:
            weights = mask.unsqueeze(-1).float()
            pooled = (states * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1)

    def _probabilities(self, logits: Any) -> Any:
        config = self.model.config
        if config.num_labels == 1 or config.problem_type == "multi_label_classification":
            return logits.sigmoid()
        return logits.softmax(-1)

    def label(self, probabilities: list[float]) -> str:
        """The likeliest label."""
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        return str(self.model.config.id2label[best])


def _pools_first_token(folder: Path) -> bool:
    """As sentence-transformers keeps it beside the model; the mean of all tokens otherwise."""
    kept = folder / "1_Pooling" / "config.json"
    return kept.exists() and bool(json.loads(kept.read_text()).get("pooling_mode_cls_token"))


def build_pooling_app(loaded: PooledModel) -> FastAPI:
    """GET /v1/models, /health; POST on the one path of the model's task. Nothing else."""
    app = FastAPI(openapi_url=None)
    one_at_a_time = asyncio.Lock()
    item = _ITEMS[loaded.task]
    card = {
        "id": loaded.name,
        "object": "model",
        "created": loaded.created,
        "owned_by": "llmcloud",
        "max_model_len": loaded.context_tokens,
    }

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card]}

    async def answer(request: Request, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("model") != loaded.name:
            raise UnknownModel(f"This engine serves the model {loaded.name} only.")
        texts = texts_of(body)
        encoded = await asyncio.to_thread(loaded.encode, texts)
        async with one_at_a_time:
            outputs = await asyncio.to_thread(loaded.outputs, encoded)
        tokens = sum(len(one["input_ids"]) for one in encoded)
        rows = zip(texts, encoded, outputs, strict=True)
        data = [{"index": n, **item(loaded, body, *row)} for n, row in enumerate(rows)]
        return {
            "id": request_id(request, "pool"),
            "object": "list",
            "created": int(time.time()),
            "model": loaded.name,
            "data": data,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }

    async def other(request: Request) -> None:
        raise InvalidRequest(f"{loaded.name} answers on {_PATHS[loaded.task]} only.", "model")

    for task, path in _PATHS.items():
        app.post(path, response_model=None)(answer if task == loaded.task else other)
    app.post("/v1/chat/completions")(other)
    app.post("/v1/completions")(other)
    answer_errors(app)
    return app


def _embedding(
    _: PooledModel, body: dict[str, Any], text: str, encoded: Any, output: list[float]
) -> dict[str, Any]:
    vector: list[float] | str = output
    if body.get("encoding_format") == "base64":
        packed = torch.tensor(output, dtype=torch.float32).numpy().astype("<f4").tobytes()
        vector = base64.b64encode(packed).decode()
    return {"object": "embedding", "embedding": vector}


def _classified(
    loaded: PooledModel, body: dict[str, Any], text: str, encoded: Any, output: list[float]
) -> dict[str, Any]:
    return {"label": loaded.label(output), "probs": output, "num_classes": len(output)}


def _tagged(
    loaded: PooledModel, body: dict[str, Any], text: str, encoded: Any, output: list[list[float]]
) -> dict[str, Any]:
    tokens = [
        {"text": text[start:end], "start": start, "end": end, "label": loaded.label(row)}
        for (start, end), row in zip(encoded["offset_mapping"], output, strict=True)
    ]
    return {"object": "pooling", "data": output, "tokens": tokens}


_ITEMS: dict[PoolingTask, Callable[..., dict[str, Any]]] = {
    "embed": _embedding,
    "classify": _classified,
    "token_classify": _tagged,
}
