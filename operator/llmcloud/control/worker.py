"""Workers: take a key, reconcile it, give it back. One broken object never slows the others."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from llmcloud.cluster.client import ChildRefused, ClusterError, Gone, NotAllowed, Refused
from llmcloud.control.queue import Key, WorkQueue

logger = logging.getLogger(__name__)

RECONCILES: Final = Counter(
    "llmcloud_reconciles", "Reconciles by kind and result", ["kind", "result"]
)
SECONDS: Final = Histogram("llmcloud_reconcile_seconds", "Seconds of a reconcile", ["kind"])
DEPTH: Final = Gauge("llmcloud_queue_depth", "Keys that wait, including those due later")

Reconcile = Callable[[Key], Awaitable[float | None]]
"""Returns the seconds after which to look again, or None."""

Excuse = Callable[[Key, str, str], Awaitable[None]]
"""Puts a reason and a message into the status of a key that could not be reconciled."""


async def run_worker(queue: WorkQueue, reconcile: Reconcile, excuse: Excuse) -> None:
    """Work for ever."""
    while True:
        key = await queue.take()
        started = time.monotonic()
        result, again = await _reconcile_once(key, reconcile, excuse)
        SECONDS.labels(key.kind).observe(time.monotonic() - started)
        RECONCILES.labels(key.kind, result).inc()
        queue.done(key, again, failed=result != "done")
        DEPTH.set(queue.depth)


async def _reconcile_once(
    key: Key, reconcile: Reconcile, excuse: Excuse
) -> tuple[str, float | None]:
    try:
        return "done", await reconcile(key)
    except Gone as error:
        logger.info("Something of %s was gone: %s", key, error.message)
        return "transient", None
    except Refused as error:
        logger.warning("The API server refuses what %s needs: %s", key, error.message)
        await _try_to_excuse(excuse, key, *_why(error))
        return "refused", None
    except ClusterError as error:
        logger.info("Reconcile of %s is tried again: %s", key, error.message)
        return "transient", None
    except Exception as error:
        logger.exception("Reconcile of %s failed", key)
        message = (
            f"The operator failed: {type(error).__name__}. Its log says more; please report it"
        )
        await _try_to_excuse(excuse, key, "InternalError", message)
        return "bug", None


def _why(error: Refused) -> tuple[str, str]:
    if isinstance(error, ChildRefused):
        return "PodRefused", error.message
    if isinstance(error, NotAllowed):
        return "OperatorForbidden", f"The operator lacks a right: {error.message}. Grant it"
    return (
        "InternalError",
        f"The API server refuses what the operator asks: {error.message}. Install the CRDs and "
        "the operator of the same version; report it if they are",
    )


async def _try_to_excuse(excuse: Excuse, key: Key, reason: str, message: str) -> None:
    try:
        await excuse(key, reason, message)
    except ClusterError as error:
        logger.warning("The status of %s was not written: %s", key, error.message)
    except Exception:
        logger.exception("The status of %s cannot be written", key)
