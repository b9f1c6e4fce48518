"""The engine of the runtime image, run without a cluster, with a sidecar of this process."""

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmcloud.api.adapter import WantedAdapter, WantedAdapters
from llmcloud.api.contract import FetchTask, SidecarTask, StoreLocation
from llmcloud.cloud.fetch import fetch
from llmcloud.cloud.sidecar import Sidecar
from tests.contract.servers import free_port
from tests.support.ranks import Process, Runtime

START_SECONDS = 120


@dataclass
class Served:
    """A model under the name `wiki`, and the sidecar that keeps its adapters."""

    url: str
    told: Path
    sidecar: Sidecar

    def tell(self, *wanted: WantedAdapter) -> None:
        """As the kubelet shows a change of the pod's annotation; then the sidecar looks."""
        self.told.write_text(WantedAdapters(adapters=list(wanted)).model_dump_json(by_alias=True))
        self.sidecar.look()

    def complete(self, model: str, prompt: str) -> tuple[int, str]:
        """Status, and what the model says: the likeliest words, or the error."""
        body = {"model": model, "prompt": prompt, "max_tokens": 12, "temperature": 0}
        request = urllib.request.Request(
            f"{self.url}/v1/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer: dict[str, Any] = json.load(response)
                assert answer["model"] == model
                return response.status, answer["choices"][0]["text"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@contextmanager
def engine(
    runtime: Runtime, location: StoreLocation, path: str, folder: Path, *options: str
) -> Iterator[Served]:
    """Serve the model at `path` of the store until the block ends.

    `folder` is the same folder in the image and outside of it, where adapters go.
    """
    inside = runtime.root / folder.relative_to("/")
    inside.mkdir(parents=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(inside)
    fetch(FetchTask(store=location, path=path, destination=str(folder / "wiki")))
    port, report = free_port(), free_port()
    arguments = ("--model-name", "wiki", "--models-path", str(folder), "--adapters", *options)
    ports = ("--port", str(port), "--report-port", str(report))
    log = inside.parent / "engine.log"
    process = runtime.start(log, "llmcloud_runtime.engine", {}, (*arguments, *ports))
    url = f"http://127.0.0.1:{port}"
    told = folder.parent / "adapters.json"
    task = SidecarTask(model="wiki", adapters=True)
    served = Served(url, told, Sidecar(task, url, told, folder / ".adapters"))
    try:
        _until_ready(served, process, log)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _until_ready(served: Served, process: Process, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    served.told.write_text(WantedAdapters().model_dump_json(by_alias=True))
    while not served.sidecar.ready:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
        served.sidecar.look()


def likeliest(served: Served, model: str, prompts: Sequence[str]) -> list[str]:
    """What the model says to each prompt."""
    said = [served.complete(model, prompt) for prompt in prompts]
    assert {status for status, _ in said} == {200}, said
    return [text for _, text in said]
