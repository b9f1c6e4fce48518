"""Workers: what ends how, and one broken object never slows the others."""

import asyncio
import logging
from contextlib import suppress

import pytest

from llmcloud.cluster.client import ChildRefused, ClusterError, Gone, NotAllowed, Refused
from llmcloud.control.queue import Key, WorkQueue
from llmcloud.control.worker import run_worker

BROKEN, GOOD = Key("K", "ns", "broken"), Key("K", "ns", "good")


class Looks:
    """Reconciles by raising what a key is set to raise, and records what was excused."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen: list[Key] = []
        self.excused: list[tuple[Key, str, str]] = []

    async def reconcile(self, key: Key) -> float | None:
        self.seen.append(key)
        if key == BROKEN and self.error is not None:
            raise self.error
        return None

    async def excuse(self, key: Key, reason: str, message: str) -> None:
        self.excused.append((key, reason, message))


async def work(looks: Looks, seconds: float = 0.25) -> WorkQueue:
    queue = WorkQueue()
    queue.wake(BROKEN, 0)
    queue.wake(GOOD, 0)
    with suppress(TimeoutError, asyncio.TimeoutError):
        await asyncio.wait_for(run_worker(queue, looks.reconcile, looks.excuse), seconds)
    return queue


async def test_what_is_done_is_done() -> None:
    looks = Looks()
    queue = await work(looks)
    assert (looks.seen, looks.excused, queue.depth) == ([BROKEN, GOOD], [], 0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(ChildRefused(422, "Job is invalid"), "PodRefused", id="a refused child"),
        pytest.param(
            NotAllowed(403, "User cannot"), "OperatorForbidden", id="a right that it lacks"
        ),
        pytest.param(
            Refused(422, "status is invalid"), "InternalError", id="a status that is refused"
        ),
        pytest.param(KeyError("secret words"), "InternalError", id="a bug of ours"),
        pytest.param(Gone(404, "no namespace"), None, id="not what is gone"),
        pytest.param(ClusterError(503, "busy"), None, id="not what passes"),
    ],
)
async def test_the_status_tells_of(
    error: Exception, reason: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    looks = Looks(error)
    queue = await work(looks)
    assert GOOD in looks.seen
    assert queue.depth == 1
    assert [(key, why) for key, why, _ in looks.excused] == ([(BROKEN, reason)] if reason else [])
    assert all("secret words" not in message for _, _, message in looks.excused)
