"""tokensPerDay: reserved when a request comes, settled when it ends, by days of UTC.

The operator leases the day's tokens to egress pods (decision 055): a pod spends at most what is
leased to it, so that one which takes another's place cannot spend them again. What is reserved is
written down first, so that a container that is killed starts again in its pod with all that was in
flight counted as spent: it can only spend less.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from llmcloud.api.external import EgressLease, EgressLeases
from llmcloud.api.leases import DAY_SECONDS, KeySample, WindowSample, day_of
from llmcloud_gateway.errors import GatewayError

log = logging.getLogger(__name__)

LEASE_SECONDS = 10.0
"""How long a request waits for a lease that may come."""
_POLL_SECONDS = 0.1


class Budget:
    """One pod's budget. `tokens_per_day` None: without bound.

    `file` keeps the count over restarts of the container; `leases` is written by the operator.
    """

    def __init__(
        self,
        tokens_per_day: int | None,
        file: Path,
        leases: Path,
        clock: Callable[[], float] = time.time,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._most = tokens_per_day
        self._file = file
        self._leases = leases
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._day = ""
        self._spent = 0
        self._reserved = 0
        self._waiting = 0
        self._in_order = asyncio.Lock()
        if tokens_per_day is not None:
            self._remember(tokens_per_day)

    async def reserve(self, tokens: int) -> str:
        """Sets `tokens` aside; the day it is of.

        Waits, in order, for a lease that may come. GatewayError 429 if so many are not left of the
        day, 503 if no lease came.
        """
        if self._most is None:
            return self._day
        self._waiting += tokens
        try:
            async with asyncio.timeout(self._lease_seconds), self._in_order:
                while True:
                    if self._fits(tokens, self._most):
                        return self._set_aside(tokens)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise GatewayError(
                503,
                "BudgetNotLeased",
                "The operator has not leased this pod enough of external.tokensPerDay. Try again.",
                retry_after_seconds=1,
            ) from None
        finally:
            self._waiting -= tokens

    def _set_aside(self, tokens: int) -> str:
        self._reserved += tokens
        self._write()
        return self._day

    def settle(self, day: str, reserved: int, spent: int) -> None:
        """A request of `day` has ended."""
        self._turn()
        if self._most is None or day != self._day:
            return
        self._reserved -= reserved
        self._spent += spent
        self._write()

    def sample(self) -> KeySample:
        """What the operator is told: of this day, also before anything was spent."""
        self._turn()
        window = WindowSample(
            window=self._day,
            requests=0,
            tokens=self._spent + self._reserved,
            wanted_requests=0,
            wanted_tokens=self._waiting,
        )
        return KeySample(
            namespace="",
            name="",
            requests=0,
            input_tokens=0,
            output_tokens=0,
            last_used=0,
            windows=[window] if self._most is not None else [],
        )

    def _fits(self, tokens: int, budget: int) -> bool:
        """False: not yet. GatewayError if not in this day."""
        self._turn()
        lease = self._lease(budget)
        after = self._spent + self._reserved + tokens
        if after <= lease.tokens:
            return True
        if after > lease.most:
            left = max(0, lease.most - self._spent - self._reserved)
            raise GatewayError(
                429,
                "TokensPerDaySpent",
                f"{left} of {budget} tokens are left of this day (UTC), and this request may take "
                f"{tokens} (external.tokensPerDay). Ask for fewer, or try again tomorrow.",
                retry_after_seconds=int(DAY_SECONDS - self._clock() % DAY_SECONDS) + 1,
            )
        return False

    def _lease(self, budget: int) -> EgressLease:
        try:
            leases = EgressLeases.model_validate_json(self._leases.read_text())
        except (OSError, ValidationError):  # nothing has been leased to this pod yet
            leases = EgressLeases(days={})
        return leases.days.get(self._day) or EgressLease(tokens=0, most=budget)

    def _turn(self) -> None:
        day = day_of(self._clock())
        if day != self._day:
            self._day, self._spent, self._reserved = day, 0, 0

    def _remember(self, most: int) -> None:
        self._turn()
        try:
            said = json.loads(self._file.read_text())
            day, spent = str(said["day"]), int(said["spent"])
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):  # cut short: the node went down
            log.warning("%s cannot be read: what was leased counts as spent", self._file)
            day, spent = self._day, self._lease(most).tokens
        if day == self._day:
            self._spent = spent

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"day": self._day, "spent": self._spent + self._reserved}))
        os.replace(new, self._file)
