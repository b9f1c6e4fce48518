"""Serves one model: `python -m llmcloud_runtime.engine --model-name NAME`.

The model lies in MODELS_PATH/NAME, and NAME is what clients ask for. The report port answers
while the model loads: /ready is 200 only after a real answer came back over HTTP, /healthz
200 while the process loads or its engine answers. SIGTERM: not ready any more, requests in flight
may finish, then it ends.
"""

import argparse
import logging
import os
import sys
import threading
import time
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from llmcloud.api.contract import ENGINE_PORT, MODELS_PATH, REPORT_PORT, EngineStart
from llmcloud.cloud.loopback import probes, status_of
from llmcloud.cloud.telling import Answer, tell
from llmcloud_runtime.resources import cpu_threads, prepare_process

PROBE_SECONDS = 120
"""The first generation on a cold accelerator compiles kernels."""
ANSWER_SECONDS = 5
CONCURRENT_REQUESTS = 512

log = logging.getLogger(__name__)


class Readiness:
    """What the report port tells: starting -> serving -> draining."""

    def __init__(self, engine_url: str) -> None:
        self.engine_url = engine_url
        self.began = time.monotonic()
        self.load_seconds = 0.0
        self.ready_seconds: float | None = None
        self.draining = False

    @property
    def ready(self) -> bool:
        return self.ready_seconds is not None and not self.draining

    @property
    def healthy(self) -> bool:
        """A loading or draining engine is healthy; a serving one must answer."""
        return not self.ready or status_of(f"{self.engine_url}/health", ANSWER_SECONDS) == 200

    def start(self) -> str:
        """`EngineStart` as JSON; meaningful once ready."""
        warm_up = (self.ready_seconds or self.load_seconds) - self.load_seconds
        start = EngineStart(load_seconds=self.load_seconds, warm_up_seconds=warm_up)
        return start.model_dump_json(by_alias=True)

    def metrics(self) -> str:
        """Prometheus text."""
        seconds = self.ready_seconds or 0.0
        return (
            f"# TYPE llmcloud_engine_ready gauge\nllmcloud_engine_ready {int(self.ready)}\n"
            f"# TYPE llmcloud_engine_start_seconds gauge\n"
            f"llmcloud_engine_start_seconds {seconds:.3f}\n"
        )


def main() -> int:
    options = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    readiness = Readiness(f"http://127.0.0.1:{options.port}")
    report = serve_report(readiness, options.report_port)
    os.environ["HF_HUB_OFFLINE"] = "1"
    prepare_process()
    import torch
    import uvicorn
    from transformers.utils import logging as transformers_logging

    from llmcloud_runtime.pooling import PooledModel, build_pooling_app, task_of
    from llmcloud_runtime.serving import LoadedModel, build_app

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(cpu_threads())
    folder = Path(options.models_path) / options.model_name
    task, name, created = task_of(folder), options.model_name, int(time.time())
    if task is None:
        loaded = LoadedModel(name, folder, created)
        app = build_app(loaded, with_adapters=options.adapters)
    else:
        app = build_pooling_app(PooledModel(name, folder, created, task))
    readiness.load_seconds = time.monotonic() - readiness.began

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            readiness.draining = True
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        host="0.0.0.0",
        port=options.port,
        log_level="warning",
        access_log=False,
        limit_concurrency=CONCURRENT_REQUESTS,
        timeout_graceful_shutdown=options.drain_seconds,
    )
    threading.Thread(
        target=wait_for_answer, args=(readiness, *_probe(name, task)), daemon=True
    ).start()
    server = Server(config)
    server.run()
    report.shutdown()
    return 0 if server.started else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llmcloud_runtime.engine", description=__doc__)
    parser.add_argument("--model-name", required=True, help="folder below the models' path")
    parser.add_argument("--models-path", default=MODELS_PATH)
    parser.add_argument("--port", type=int, default=ENGINE_PORT)
    parser.add_argument("--report-port", type=int, default=REPORT_PORT)
    parser.add_argument(
        "--drain-seconds", type=int, default=300, help="how long SIGTERM waits for requests"
    )
    parser.add_argument(
        "--adapters", action="store_true", help="LoRA adapters may be loaded (vLLM's paths)"
    )
    return parser.parse_args(arguments)


def _probe(model_name: str, task: str | None) -> tuple[str, dict[str, Any]]:
    """Path and body of a small request that the model must answer."""
    paths = {None: "/v1/chat/completions", "embed": "/v1/embeddings", "classify": "/classify"}
    path = paths.get(task, "/pooling")
    return path, dict(probes(model_name))[path]


def wait_for_answer(readiness: Readiness, path: str, body: dict[str, Any]) -> None:
    """Ask until an answer comes; then the engine is ready."""
    while status_of(readiness.engine_url + path, PROBE_SECONDS, body) != HTTPStatus.OK:
        time.sleep(0.2)
    readiness.ready_seconds = time.monotonic() - readiness.began
    log.info("Ready after %.1f s", readiness.ready_seconds)


def serve_report(readiness: Readiness, port: int) -> ThreadingHTTPServer:
    """Start answering /ready, /healthz, /start and /metrics in threads."""

    def healthy() -> Answer:
        good = readiness.healthy
        return Answer("ok\n" if good else "the engine does not answer\n", good=good)

    def ready() -> Answer:
        return Answer("ready\n" if readiness.ready else "not ready\n", good=readiness.ready)

    return tell(
        {
            "/ready": ready,
            "/healthz": healthy,
            "/start": lambda: Answer(readiness.start(), good=readiness.ready_seconds is not None),
            "/metrics": lambda: Answer(readiness.metrics()),
        },
        port,
    )


if __name__ == "__main__":
    sys.exit(main())
