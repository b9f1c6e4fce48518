"""What pods tell while they run: pulled from the pods this operator owns, bounded and lossy."""

import asyncio
import time
from typing import Final, TypeVar

import aiohttp
from pydantic import ValidationError

from llmcloud.api.adapter import AdapterReport
from llmcloud.api.base import ApiModel
from llmcloud.api.contract import REPORT_PORT, EngineStart, Progress
from llmcloud.plan.children import PodView

REPORT_BYTES: Final = 1024 * 1024
SAMPLES_BYTES: Final = 16 * 1024 * 1024
"""Of a gateway, which is nobody's but the installation's: it tells of every key that was used, with
some 300 bytes."""
REPORT_SECONDS: Final = 2.0
_FRESH_SECONDS: Final = 4.5
_RAREST_SECONDS: Final = 60.0
_MOST_PODS: Final = 4096

ReportT = TypeVar("ReportT", bound=ApiModel)


async def pull(
    session: aiohttp.ClientSession,
    url: str,
    model: type[ReportT],
    most_bytes: int = REPORT_BYTES,
) -> ReportT | None:
    """GET a report; None if it is late, too long, or not one."""
    try:
        async with session.get(
            url, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=REPORT_SECONDS)
        ) as response:
            body = bytearray()
            while chunk := await response.content.read(most_bytes + 1 - len(body)):
                body += chunk
                if response.status != 200 or len(body) > most_bytes:
                    return None
            if response.status != 200:
                return None
        return model.model_validate_json(body)
    except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
        return None


class Reports:
    """Progress of training and dataset pods, each asked at most every five seconds.

    One pod is asked per object, that of the newest attempt, and a silent one ever more rarely:
    a pod that does not answer must not hold a worker.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._last: dict[str, tuple[float, int, Progress | None]] = {}

    async def progress(self, pods: tuple[PodView, ...]) -> Progress | None:
        """The last report of the newest attempt's running pod; of several, of the first."""
        running = [pod for pod in pods if pod.phase == "Running" and pod.ip and not pod.deleting]
        if not running:
            return None
        pod = max(running, key=lambda pod: (pod.attempt, -pod.index))
        asked, silences, progress = self._last.get(pod.uid, (float("-inf"), 0, None))
        pause = min(_FRESH_SECONDS * 2.0 ** min(silences, 8), _RAREST_SECONDS)
        if time.monotonic() - asked >= pause:
            url = f"http://{pod.ip}:{REPORT_PORT}/progress"
            report = await pull(self._session, url, Progress)
            silences = 0 if report is not None else silences + 1
            progress = report or progress
            if len(self._last) >= _MOST_PODS:
                self._last.clear()
            self._last[pod.uid] = (time.monotonic(), silences, progress)
        return progress

    async def engine_start(self, pod: PodView) -> EngineStart | None:
        """How the start of a ready replica went, if its engine tells."""
        return await pull(self._session, f"http://{pod.ip}:{REPORT_PORT}/start", EngineStart)

    async def adapters(self, pods: tuple[PodView, ...]) -> dict[str, AdapterReport]:
        """What the sidecars of ready replicas tell of adapters, by name of pod."""
        serving = [pod for pod in pods if pod.serves and pod.ip]
        urls = [f"http://{pod.ip}:{REPORT_PORT}/adapters" for pod in serving]
        told = await asyncio.gather(*(pull(self._session, url, AdapterReport) for url in urls))
        found = zip(serving, told, strict=True)
        return {pod.name: report for pod, report in found if report is not None}
