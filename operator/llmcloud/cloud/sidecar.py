"""The container beside an engine that cannot say itself when it serves, or has adapters.

It reports as an engine of ours does: /ready is 200 from the moment when one real answer of the
model came back over HTTP until the engine is gone, /start tells how long that one took. An engine
that was started anew must answer, and load its adapters, again. A new replica is ready when it has
all of them, or has tried often enough.
"""

import logging
import os
import signal
import sys
import threading
import time
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Final

from llmcloud.api.adapter import ADAPTERS_FILE, ADAPTERS_FOLDER, AdapterReport
from llmcloud.api.contract import (
    ENV_TASK,
    MODELS_PATH,
    REPORT_PORT,
    EngineStart,
    SidecarTask,
)
from llmcloud.cloud.adapters import EngineAdapters
from llmcloud.cloud.authorities import trust_authorities
from llmcloud.cloud.loopback import ENGINE_URL, Late, answers, ask
from llmcloud.cloud.telling import Answer, tell

PROBE_SECONDS: Final = 120.0
"""The first generation on a cold accelerator compiles kernels."""
HEALTH_SECONDS: Final = 2.0
WATCH_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class Sidecar:
    """What is known of the engine. `look` is called by one thread, the report by others."""

    def __init__(
        self,
        task: SidecarTask,
        engine_url: str = ENGINE_URL,
        told: Path = Path(ADAPTERS_FOLDER) / ADAPTERS_FILE,
        folder: Path = Path(MODELS_PATH) / ".adapters",
    ) -> None:
        self._model = task.model
        self._url = engine_url
        self._adapters: EngineAdapters | None = None
        if task.adapters:
            self._adapters = EngineAdapters(task.model, engine_url, told, folder)
        self._settled = self._adapters is None
        self._loaded: float | None = None
        self._answered: float | None = None

    @property
    def ready(self) -> bool:
        return self._answered is not None and self._settled

    @property
    def adapters(self) -> AdapterReport:
        """What the engine serves of them."""
        return self._adapters.report if self._adapters else AdapterReport()

    @property
    def start(self) -> EngineStart:
        """Meaningful once it is ready. When the engine began is not known here: its image may have
        been pulled meanwhile."""
        loaded = self._loaded or 0.0
        return EngineStart(warm_up_seconds=(self._answered or loaded) - loaded)

    def look(self) -> None:
        """One look at the engine."""
        if not self._healthy():
            self._start_over()
            return
        if self._loaded is None:
            self._loaded = time.monotonic()
        if self._answered is None and answers(self._url, self._model, PROBE_SECONDS):
            self._answered = time.monotonic()
            log.info("The engine answers, %.1f s after it was up", self._answered - self._loaded)
        if self._answered is not None and self._adapters is not None:
            try:
                self._settled = self._adapters.look() or self._settled
            except OSError as error:
                log.warning("The engine does not tell of its adapters: %s", error)

    def _healthy(self) -> bool:
        """An engine that is late is busy; one that refuses connections is not there."""
        try:
            return ask(f"{self._url}/health", HEALTH_SECONDS)[0] == HTTPStatus.OK
        except Late:
            return self._answered is not None
        except OSError:
            return False

    def _start_over(self) -> None:
        if self._loaded is not None:
            log.warning("The engine is gone: it has to answer again")
            self._loaded, self._answered = None, None
            self._settled = self._adapters is None


def serve_report(sidecar: Sidecar, port: int) -> ThreadingHTTPServer:
    """Answers in threads until it is shut down; port 0 takes a free one."""

    def ready() -> Answer:
        text = "ready\n" if sidecar.ready else "the engine has not answered yet\n"
        return Answer(text, good=sidecar.ready)

    name = "llmcloud_engine_ready"
    return tell(
        {
            "/ready": ready,
            "/start": lambda: Answer(
                sidecar.start.model_dump_json(by_alias=True), good=sidecar.ready
            ),
            "/adapters": lambda: Answer(sidecar.adapters.model_dump_json(by_alias=True)),
            "/healthz": lambda: Answer("ok\n"),
            "/metrics": lambda: Answer(f"# TYPE {name} gauge\n{name} {int(sidecar.ready)}\n"),
        },
        port,
    )


def run_sidecar() -> int:
    """`llmcloud sidecar`: watches until it is told to go."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    over = threading.Event()

    def stop(signal_number: int, frame: FrameType | None) -> None:
        over.set()

    signal.signal(signal.SIGTERM, stop)
    trust_authorities()
    sidecar = Sidecar(SidecarTask.model_validate_json(os.environ[ENV_TASK]))
    server = serve_report(sidecar, REPORT_PORT)
    while not over.wait(WATCH_SECONDS):
        sidecar.look()
    server.shutdown()
    return 0
