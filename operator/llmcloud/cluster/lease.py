"""Leadership by a Lease: one process acts, and it stops before another may begin.

The holder renews every `RENEW_SECONDS` and gives up when it could not for `GIVE_UP_SECONDS`;
others wait until nothing was renewed for `DURATION_SECONDS`, by their own clock, so that clocks
need not agree. A process that finds its own name in the Lease (a restarted container of the
same pod) goes on at once.
"""

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any, Final

from llmcloud.api.names import LABEL_MANAGED_BY, MANAGED_BY
from llmcloud.cluster.client import Client, ClusterError, Gone, object_path

logger = logging.getLogger(__name__)

DURATION_SECONDS: Final = 15
GIVE_UP_SECONDS: Final = 10.0
RENEW_SECONDS: Final = 5.0
LEASE_NAME: Final = "llmcloud-operator"


class LeadershipLost(Exception):
    """Another process may act from now on; this one must stop."""


class LeaderLease:
    """One process' view of the Lease."""

    def __init__(self, client: Client, namespace: str, identity: str) -> None:
        self._client = client
        self._identity = identity
        self._namespace = namespace
        self._path = object_path("coordination.k8s.io/v1", "Lease", namespace, LEASE_NAME)
        self._renewed = float("-inf")
        """When the last successful write began: others count from when it arrived, later."""
        self._seen: tuple[str, float] = ("", time.monotonic())

    async def acquire(self) -> None:
        """Return once this process leads."""
        while True:
            try:
                if await self._try_to_hold():
                    logger.info("This process leads as %s", self._identity)
                    return
            except ClusterError as error:
                logger.warning("The Lease was not reached: %s", error.message)
            await asyncio.sleep(1.0)

    async def keep(self) -> None:
        """Renew for ever. Raises `LeadershipLost`."""
        while True:
            age = time.monotonic() - self._renewed
            await asyncio.sleep(RENEW_SECONDS if age < RENEW_SECONDS else 0.5)
            left = self._renewed + GIVE_UP_SECONDS - time.monotonic()
            try:
                async with asyncio.timeout(max(0.1, left)):
                    held = await self._try_to_hold()
            except (ClusterError, TimeoutError) as error:
                logger.warning("The Lease was not renewed: %r", error)
                held = None
            too_old = time.monotonic() - self._renewed >= GIVE_UP_SECONDS
            if held is False or (not held and too_old):
                raise LeadershipLost(f"{self._identity} no longer holds the Lease")

    async def release(self) -> None:
        """Let go, so that the next leader need not wait."""
        lease = await self._client.get(self._path)
        if lease and lease["spec"].get("holderIdentity") == self._identity:
            lease["spec"]["holderIdentity"] = ""
            await self._client.call("PUT", self._path, body=lease)

    async def _try_to_hold(self) -> bool:
        began = time.monotonic()
        held = await self._hold()
        if held:
            self._renewed = began
        return held

    async def _hold(self) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = await self._client.get(self._path)
        if lease is None:
            return await self._create(now)
        spec: dict[str, Any] = lease["spec"]
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity):
            version = lease["metadata"]["resourceVersion"]
            if version != self._seen[0]:
                self._seen = (version, time.monotonic())
            if time.monotonic() - self._seen[1] < DURATION_SECONDS:
                return False
        if holder != self._identity:
            spec["leaseTransitions"] = spec.get("leaseTransitions", 0) + 1
            spec["acquireTime"] = now
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": now,
        }
        return await self._write("PUT", self._path, lease)

    async def _create(self, now: str) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": LEASE_NAME,
                "namespace": self._namespace,
                "labels": {LABEL_MANAGED_BY: MANAGED_BY},
            },
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }
        return await self._write("POST", self._path.rsplit("/", 1)[0], body)

    async def _write(self, method: str, path: str, body: dict[str, Any]) -> bool:
        """False if another process was faster."""
        try:
            await self._client.call(method, path, body=body)
        except Gone:
            return False
        except ClusterError as error:
            if error.status == 409:
                return False
            raise
        return True
