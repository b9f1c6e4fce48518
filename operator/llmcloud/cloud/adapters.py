"""Has an engine serve the adapters that its pod's annotation names, no more and no fewer.

vLLM's two paths for it (/v1/load_lora_adapter, /v1/unload_lora_adapter), which our own engine has
too. What an engine has loaded is read from its /v1/models, never remembered: it may have been
started anew. Another version of an adapter lies in another folder and is loaded in place of the
first.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from llmcloud.api.adapter import AdapterReport, WantedAdapter, WantedAdapters
from llmcloud.api.contract import FetchTask
from llmcloud.cloud.fetch import fetch
from llmcloud.cloud.loopback import ask
from llmcloud.cloud.outcome import failure

TRIES: Final = 3
"""After so many a new replica serves without an adapter that cannot be loaded."""
RETRY_SECONDS: Final = 2.0
LATEST_SECONDS: Final = 60.0
LOAD_SECONDS: Final = 120.0
MESSAGE_CHARACTERS: Final = 1000

log = logging.getLogger(__name__)


@dataclass
class _Attempts:
    """Of one version of an adapter."""

    count: int = 0
    due: float = 0.0
    message: str = ""


class EngineAdapters:
    """The adapters of the engine at `url`, which serves `model`; files go below `folder`."""

    def __init__(
        self,
        model: str,
        url: str,
        file: Path,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._url = url
        self._file = file
        self._folder = folder
        self._clock = clock
        self._attempts: dict[str, _Attempts] = {}
        self.report = AdapterReport()

    def look(self) -> bool:
        """One round; whether every adapter is loaded or has been tried often enough.

        Raises OSError if the engine does not answer.
        """
        wanted = self._wanted()
        if wanted is None:
            return False
        loaded = self._loaded()
        if loaded != {adapter.name: str(self._path(adapter)) for adapter in wanted}:
            for adapter in wanted:
                if loaded.get(adapter.name) != str(self._path(adapter)):
                    self._try(adapter, in_place=adapter.name in loaded)
            for name in loaded.keys() - {adapter.name for adapter in wanted}:
                self._post("unload", {"lora_name": f"{self._model}:{name}"})
            loaded = self._loaded()
        self._tell(wanted, loaded)
        self._forget(wanted)
        failed = [one.key for one in wanted if one.name not in self.report.loaded]
        return all(self._count(key) >= TRIES for key in failed)

    def _count(self, key: str) -> int:
        return self._attempts[key].count if key in self._attempts else 0

    def _wanted(self) -> tuple[WantedAdapter, ...] | None:
        """None as long as the pod has not been told."""
        try:
            text = self._file.read_text()
            return tuple(WantedAdapters.model_validate_json(text).adapters) if text else None
        except FileNotFoundError:
            return None
        except ValidationError as error:
            log.warning("The pod's annotation is not valid: %s", error)
            return None

    def _path(self, adapter: WantedAdapter) -> Path:
        return self._folder / f"{adapter.name}-{adapter.key}"

    def _loaded(self) -> dict[str, str]:
        """Paths of what the engine serves, by the adapter's name."""
        status, body = ask(f"{self._url}/v1/models", LOAD_SECONDS)
        if status != HTTPStatus.OK:
            raise OSError(f"/v1/models answered {status}")
        try:
            served = {card["id"]: card.get("root") or "" for card in json.loads(body)["data"]}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OSError("/v1/models is not as OpenAI's") from None
        prefix = f"{self._model}:"
        return {
            name.removeprefix(prefix): path
            for name, path in served.items()
            if name.startswith(prefix)
        }

    def _try(self, adapter: WantedAdapter, *, in_place: bool) -> None:
        attempts = self._attempts.setdefault(adapter.key, _Attempts())
        if self._clock() < attempts.due:
            return
        attempts.message = self._fetch(adapter) or self._load(adapter, in_place=in_place)
        attempts.count += 1
        pause = min(RETRY_SECONDS * 2.0 ** min(attempts.count, 8), LATEST_SECONDS)
        attempts.due = self._clock() + pause
        if attempts.message:
            log.warning("Adapter %s: %s", adapter.name, attempts.message)
            return
        log.info("Adapter %s is loaded", adapter.name)
        del self._attempts[adapter.key]

    def _fetch(self, adapter: WantedAdapter) -> str:
        """Why it could not be fetched; empty if it was."""
        task = FetchTask(
            store=adapter.store,
            path=adapter.path,
            digest=adapter.digest,
            destination=str(self._path(adapter)),
        )
        try:
            fetch(task)
        except Exception as error:
            return failure(error).message
        return ""

    def _load(self, adapter: WantedAdapter, *, in_place: bool) -> str:
        body: dict[str, Any] = {
            "lora_name": f"{self._model}:{adapter.name}",
            "lora_path": str(self._path(adapter)),
            "load_inplace": in_place,
        }
        return self._post("load", body)

    def _post(self, verb: str, body: dict[str, Any]) -> str:
        """What the engine says against it; empty if nothing."""
        status, answer = ask(f"{self._url}/v1/{verb}_lora_adapter", LOAD_SECONDS, body)
        if status == HTTPStatus.OK:
            return ""
        try:
            said = str(json.loads(answer)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = answer[:MESSAGE_CHARACTERS].decode(errors="replace")
        return f"The engine refuses to {verb} it ({status}): {said}"[:MESSAGE_CHARACTERS]

    def _tell(self, wanted: Iterable[WantedAdapter], loaded: dict[str, str]) -> None:
        keys = {one.name: one.key for one in wanted if loaded.get(one.name) == str(self._path(one))}
        failed = {
            one.name: self._attempts[one.key].message
            for one in wanted
            if one.name not in keys and one.key in self._attempts
        }
        self.report = AdapterReport(loaded=keys, failed=failed)

    def _forget(self, wanted: Iterable[WantedAdapter]) -> None:
        """Files and attempts of what is no longer wanted."""
        kept = {self._path(adapter).name for adapter in wanted}
        keys = {adapter.key for adapter in wanted}
        self._attempts = {key: one for key, one in self._attempts.items() if key in keys}
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name not in kept and not path.name.startswith("."):
                    shutil.rmtree(path, ignore_errors=True)
