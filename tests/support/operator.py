"""The operator as a process of this machine, against a cluster's API server."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from tests.support.waiting import wait_for


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class OperatorProcess:
    """Start, kill and stop `llmcloud run`; its log is a file in `folder`."""

    kubeconfig: Path
    folder: Path
    namespace: str = "llmcloud-system"
    identity: str = "operator-test"
    overrides: dict[str, object] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.port = free_port()
        settings = {
            "images": {
                "operator": "llmcloud/operator:test",
                "data": "llmcloud/data:test",
                "runtime": "llmcloud/runtime:test",
                "gateway": "llmcloud/gateway:test",
                "vllm": "vllm/vllm-openai:test",
            },
            "namespace": self.namespace,
            "gatewayUrl": "http://gateway.test",
            "port": self.port,
            **self.overrides,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings = self.folder / f"{self.identity}.yaml"
        self.settings.write_text(yaml.safe_dump(settings))
        self.log = self.folder / f"{self.identity}.log"

    def start(self) -> "OperatorProcess":
        """Start it and wait until it answers."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "POD_NAME": self.identity}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llmcloud.cli", "run", "--settings", str(self.settings)],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(f"the operator answers; log: {self.log}", self.metrics, bool, 120)
        return self

    def metrics(self) -> str:
        """Its metrics; empty if it does not answer. Raises AssertionError if it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as response:
                return str(response.read().decode())
        except (URLError, OSError):
            return ""

    def leads(self) -> bool:
        """Whether it says that it leads."""
        return "llmcloud_leading 1.0" in self.metrics()

    def await_lead(self, seconds: float) -> None:
        """Raises AssertionError if it does not lead in time."""
        wait_for(f"{self.identity} leads", self.leads, bool, seconds)

    def kill(self) -> None:
        """SIGKILL: nothing is released or flushed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM and wait; killed if it does not end."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
