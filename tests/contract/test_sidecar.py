"""The sidecar beside an engine that is not ours, by HTTP on both sides."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmcloud.api.contract import EngineStart, SidecarTask
from llmcloud.cloud.sidecar import Sidecar, serve_report


@dataclass
class Engine:
    """Speaks what the sidecar asks: /health, and `answered` paths for the model `wiki`."""

    answered: frozenset[str] = frozenset()
    health: int = 200
    asked: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    def start(self, port: int = 0) -> "Engine":
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(engine.health if self.path == "/health" else 404)
                self.end_headers()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                engine.asked.append(self.path)
                good = self.path in engine.answered and body["model"] == "wiki"
                self.send_response(200 if good else 400)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    @property
    def port(self) -> int:
        assert self.server is not None
        return int(self.server.server_address[1])

    def stop(self) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(answered=frozenset({"/v1/completions"})).start()
    yield engine
    engine.stop()


@pytest.fixture
def sidecar(engine: Engine) -> Sidecar:
    return Sidecar(SidecarTask(model="wiki"), f"http://127.0.0.1:{engine.port}")


@pytest.fixture
def report(sidecar: Sidecar) -> Iterator[str]:
    server = serve_report(sidecar, 0)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def told(report: str, path: str = "/ready") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(report + path, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_an_engine_is_ready_when_it_has_answered_not_when_it_is_healthy(
    engine: Engine, sidecar: Sidecar, report: str
) -> None:
    engine.health = 503
    sidecar.look()
    assert (told(report)[0], engine.asked) == (503, [])
    engine.health, engine.answered = 200, frozenset()
    sidecar.look()
    assert told(report)[0] == 503
    assert len(engine.asked) > 1
    engine.answered = frozenset({"/v1/completions"})
    sidecar.look()
    assert told(report)[0] == 200
    start = EngineStart.model_validate_json(told(report, "/start")[1])
    assert start.load_seconds >= 0
    assert start.warm_up_seconds >= 0


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/embeddings", "/classify", "/pooling"]
)
def test_whatever_the_model_is_for_one_answer_is_enough(
    engine: Engine, sidecar: Sidecar, path: str
) -> None:
    engine.answered = frozenset({path})
    sidecar.look()
    assert sidecar.ready
    assert engine.asked[-1] == path
    asked = len(engine.asked)
    sidecar.look()
    assert len(engine.asked) == asked


def test_an_engine_that_was_started_anew_must_answer_again(
    engine: Engine, sidecar: Sidecar, report: str
) -> None:
    sidecar.look()
    assert told(report)[0] == 200
    port = engine.port
    engine.stop()
    sidecar.look()
    assert told(report)[0] == 503
    engine.start(port)
    sidecar.look()
    assert told(report)[0] == 200
    assert engine.asked.count("/v1/completions") == 2


def test_a_stranger_to_the_report_gets_nothing_else(report: str) -> None:
    assert told(report, "/healthz")[0] == 200
    assert "llmcloud_engine_ready 0" in told(report, "/metrics")[1]
    assert told(report, "/v1/load_lora_adapter")[0] == 404
