"""Once a second: ask gateways and egress pods what they carry and spend, wake what changes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import aiohttp

from llmcloud.api.contract import GATEWAY_REPORT_PORT, GatewaySamples
from llmcloud.api.leases import KeySample
from llmcloud.api.names import LABEL_COMPONENT, Kind
from llmcloud.cluster.client import Client, ClusterError, object_path
from llmcloud.cluster.egressbook import EgressBook
from llmcloud.cluster.keybook import KeyBook
from llmcloud.cluster.reports import SAMPLES_BYTES, pull
from llmcloud.plan.children import PodView, pod_view
from llmcloud.scaling.book import ScalingBook

SAMPLE_SECONDS: Final = 1.0
_FIND_SECONDS: Final = 5.0
GATEWAY_SELECTOR: Final = f"app.kubernetes.io/name=llmcloud,{LABEL_COMPONENT}=gateway"


class Sampler:
    """`wake` gets deployments whose replicas or samples changed, and keys to be leased."""

    def __init__(
        self,
        client: Client,
        session: aiohttp.ClientSession,
        book: ScalingBook,
        keys: KeyBook,
        egress: EgressBook,
        namespace: str,
        wake: Callable[[Kind, str, str], None],
    ) -> None:
        self._client = client
        self._session = session
        self._book = book
        self._keys = keys
        self._egress = egress
        self._path = object_path("v1", "Pod", namespace)
        self._wake = wake
        self._gateways: tuple[PodView, ...] = ()
        self._found = float("-inf")

    async def run(self) -> None:
        """Sample for ever. A tenant's pod that is slow to answer delays no gateway's sample."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_again_and_again(self._round))
            group.create_task(_again_and_again(self._egress_round))

    async def _round(self) -> None:
        now = time.monotonic()
        if now - self._found >= _FIND_SECONDS:
            try:
                items, _ = await self._client.list(self._path, labels=GATEWAY_SELECTOR)
            except ClusterError:
                items = None
            if items is not None:
                pods = [pod_view(item) for item in items]
                self._gateways = tuple(p for p in pods if p.phase == "Running" and p.ip)
                self._found = now
        urls = [f"http://{pod.ip}:{GATEWAY_REPORT_PORT}/samples" for pod in self._gateways]
        pulls = [pull(self._session, url, GatewaySamples, SAMPLES_BYTES) for url in urls]
        answers = zip(self._gateways, await asyncio.gather(*pulls), strict=True)
        # One that drains still counts while it answers; the silence of one that is not ready,
        # crashed or on a lost node, must not void the round.
        counted = {pod.uid: samples for pod, samples in answers if samples is not None or pod.ready}
        now = time.monotonic()
        self._book.record(now, counted)
        for namespace, name in self._book.judge(now):
            self._wake(Kind.DEPLOYMENT, namespace, name)
        self._keys.record(now, counted.values())
        for namespace, name in self._keys.due(datetime.now(UTC)):
            self._wake(Kind.ACCESS_KEY, namespace, name)

    async def _egress_round(self) -> None:
        urls = self._egress.urls()
        pulls = [pull(self._session, url, KeySample) for url in urls.values()]
        heard = dict(zip(urls, await asyncio.gather(*pulls), strict=True))
        self._egress.record(time.monotonic(), heard)
        for namespace, name in self._egress.due(datetime.now(UTC)):
            self._wake(Kind.DEPLOYMENT, namespace, name)


async def _again_and_again(sample: Callable[[], Awaitable[None]]) -> None:
    while True:
        started = time.monotonic()
        await sample()
        await asyncio.sleep(max(0.0, SAMPLE_SECONDS - (time.monotonic() - started)))
