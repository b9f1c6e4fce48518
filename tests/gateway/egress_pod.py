"""An egress pod's program in this process, and what is said to and of it."""

import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from llmcloud.api.external import EgressTask, External
from llmcloud.api.leases import day_of
from llmcloud_gateway.egress.budget import Budget
from llmcloud_gateway.egress.handler import Egress
from llmcloud_gateway.egress.provider import networks
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.server import Server
from tests.gateway.client import Answer, chat
from tests.gateway.providers import KEY, MODEL, Provider

SECRET = {"name": "keys", "key": "openai"}
LOOPBACK = ("127.0.0.0/8",)
OPENAI = Provider("/v1/chat/completions", headers={"authorization": f"Bearer {KEY}"})


def external(provider: str = "openai", port: int = 0, **members: Any) -> External:
    url = {"url": f"https://127.0.0.1:{port}"} if port else {}
    known = {"provider": provider, "model": MODEL, "apiKeySecretRef": SECRET}
    return External.model_validate({**known, **url, **members})


class Pod:
    """An egress pod's program in this process, and what its Secret holds."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        self.key_file = folder / "key"
        self.key_file.write_text(KEY + "\n")
        self.state = folder / "tokens.json"
        self.leases = folder / "leases"
        self.tls = ssl.create_default_context(cafile=str(certificate))
        self.port = 0

    @asynccontextmanager
    async def serving(
        self, which: External, allowed: tuple[str, ...] = LOOPBACK
    ) -> AsyncIterator[None]:
        task = EgressTask(external=which, drain_seconds=1)
        if which.tokens_per_day is not None:
            lease(self.leases, which.tokens_per_day, which.tokens_per_day)
        budget = Budget(which.tokens_per_day, self.state, self.leases)
        egress = Egress(task, self.key_file, budget, self.tls, networks(allowed))
        server = Server(egress.handle, Limits())
        self.port = await server.start(0, "127.0.0.1")
        try:
            yield
        finally:
            await server.drain(0)
            egress.close()


def lease(file: Path, tokens: int, most: int, now: float | None = None) -> None:
    """What the operator leases to a pod today, as the kubelet shows it."""
    days = {day_of(time.time() if now is None else now): {"tokens": tokens, "most": most}}
    file.write_text(json.dumps({"days": days}))


def bounded(max_tokens: int) -> bytes:
    return json.dumps({**json.loads(chat()), "max_tokens": max_tokens}).encode()


def spent(pod: Pod) -> int:
    return int(json.loads(pod.state.read_text())["spent"])


def spoken(answer: Answer) -> str:
    if "event-stream" not in answer.headers["content-type"]:
        return str(answer.json["choices"][0]["message"]["content"])
    events = [line for line in answer.body.split(b"\n\n") if line.startswith(b"data: {")]
    choices = [json.loads(event[6:])["choices"] for event in events]
    return " ".join(c[0]["delta"]["content"] for c in choices if c)
