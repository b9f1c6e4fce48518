"""The sidecar beside an engine that is not ours, by HTTP on both sides."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from llmcloud.api.contract import EngineStart, SidecarTask
from llmcloud.cloud.sidecar import Sidecar, serve_report
from tests.support.lora_engine import MODEL, LoraEngine


@pytest.fixture
def engine() -> Iterator[LoraEngine]:
    engine = LoraEngine().start()
    yield engine
    engine.stop()


@pytest.fixture
def sidecar(engine: LoraEngine) -> Sidecar:
    return Sidecar(SidecarTask(model=MODEL), engine.url)


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
    engine: LoraEngine, sidecar: Sidecar, report: str
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
    assert start.load_seconds is None
    assert start.warm_up_seconds >= 0


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/embeddings", "/classify", "/pooling"]
)
def test_whatever_the_model_is_for_one_answer_is_enough(
    engine: LoraEngine, sidecar: Sidecar, path: str
) -> None:
    engine.answered = frozenset({path})
    sidecar.look()
    assert sidecar.ready
    assert engine.asked[-1] == path
    asked = len(engine.asked)
    sidecar.look()
    assert len(engine.asked) == asked


def test_an_engine_that_was_started_anew_must_answer_again(
    engine: LoraEngine, sidecar: Sidecar, report: str
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
