"""Low-rank adapters beside the one model: loaded and unloaded while it serves, chosen by request.

Everything that touches the model runs in the one thread that generates, so that no generation sees
another's adapter. Weights of an adapter that is unloaded or replaced stay for a while: a request
that was accepted with them still gets them.
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel

from llmcloud_runtime.answers import UnknownModel
from llmcloud_runtime.requests import InvalidRequest

LINGER_SECONDS = 60.0

log = logging.getLogger(__name__)


class Adapter(NamedTuple):
    """One that is served: its weights' name in the model, which is never used again."""

    weights: str
    path: str


class Adapters:
    """The adapters of one model. `in_thread` runs a function where generations run."""

    def __init__(
        self, model: PreTrainedModel, base: str, in_thread: Callable[..., "asyncio.Future[Any]"]
    ) -> None:
        self._model = model
        self._base = base
        self._in_thread = in_thread
        self._names = (f"adapter{number}" for number in itertools.count())
        self._served: dict[str, Adapter] = {}
        self._lock = asyncio.Lock()

    def find(self, name: str) -> Adapter | None:
        """The adapter that clients ask for by `name`."""
        return self._served.get(name)

    def cards(self, created: int) -> list[dict[str, Any]]:
        """As /v1/models has them."""
        return [
            {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": "llmcloud",
                "root": adapter.path,
                "parent": self._base,
            }
            for name, adapter in self._served.items()
        ]

    async def load(self, body: dict[str, Any]) -> None:
        """Serve the adapter at `lora_path` as `lora_name`. Raises InvalidRequest."""
        name, path = _text(body, "lora_name"), _text(body, "lora_path")
        async with self._lock:
            before = self._served.get(name)
            if before is not None and not body.get("load_inplace"):
                raise InvalidRequest(f"{name} is served already.", "lora_name")
            if not name.startswith(f"{self._base}:"):
                raise InvalidRequest(
                    f"The name of an adapter begins with {self._base}:", "lora_name"
                )
            _check_low_rank(Path(path))
            weights = next(self._names)
            try:
                await self._in_thread(self._load, weights, path)
            except (ValueError, RuntimeError, OSError, KeyError) as error:
                await self._in_thread(self._drop, weights)
                raise InvalidRequest(f"It cannot be loaded: {error}", "lora_path") from error
            self._served[name] = Adapter(weights, path)
            log.info("Serving the adapter %s from %s", name, path)
            if before is not None:
                self._drop_later(before)

    async def unload(self, body: dict[str, Any]) -> None:
        """Serve `lora_name` no longer. Raises UnknownModel."""
        name = _text(body, "lora_name")
        async with self._lock:
            adapter = self._served.pop(name, None)
            if adapter is None:
                raise UnknownModel(f"{name} is not served.")
            self._drop_later(adapter)

    def select(self, weights: str | None) -> None:
        """Generate with these weights from now on; None: with the base alone. In the thread."""
        if not getattr(self._model, "_hf_peft_config_loaded", False):
            return
        if weights is None:
            self._model.disable_adapters()
            return
        self._model.enable_adapters()
        self._model.set_adapter(weights)

    def _load(self, weights: str, path: str) -> None:
        told = self._model.load_adapter(
            path, adapter_name=weights, adapter_kwargs={"local_files_only": True}
        )
        # Those of the adapters that are there already are told as missing too.
        missing = [key for key in told.missing_keys if f".{weights}." in key]
        if missing:
            raise ValueError(
                f"{len(missing)} of its weights are missing: it belongs to another model"
            )

    def _drop(self, weights: str) -> None:
        if weights in getattr(self._model, "peft_config", {}):
            self._model.delete_adapter(weights)

    def _drop_later(self, adapter: Adapter) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(LINGER_SECONDS, self._in_thread, self._drop, adapter.weights)


def _text(body: dict[str, Any], member: str) -> str:
    value = body.get(member)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{member} must be a text.", member)
    return value


def _check_low_rank(folder: Path) -> None:
    """Raises InvalidRequest unless the folder holds a LoRA adapter in safetensors."""
    try:
        kind = json.loads((folder / "adapter_config.json").read_text()).get("peft_type")
    except (OSError, ValueError):
        raise InvalidRequest(f"There is no adapter in {folder}.", "lora_path") from None
    if kind != "LORA" or not (folder / "adapter_model.safetensors").is_file():
        raise InvalidRequest("Only LoRA adapters in safetensors are served.", "lora_path")
