"""tokensPerDay: reserved when a request comes, settled when it ends, by days of UTC.

What is reserved is written down first, so that a container that is killed starts again with all
that was in flight counted as spent: it can only spend less. The file goes with the pod.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmcloud_gateway.errors import GatewayError

DAY_SECONDS = 86400
OUTPUT_TOKENS = 4096
"""Asked for where a request does not say how many it wants."""
_COUNTS = ("max_completion_tokens", "max_tokens")


class Budget:
    """One pod's budget. `tokens_per_day` None: without bound."""

    def __init__(
        self, tokens_per_day: int | None, file: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self._most = tokens_per_day
        self._file = file
        self._clock = clock
        self._day = -1
        self._spent = 0
        self._reserved = 0
        if tokens_per_day is not None:
            self._remember()

    @property
    def bounded(self) -> bool:
        return self._most is not None

    def reserve(self, tokens: int) -> int:
        """Sets `tokens` aside; the day it is of. GatewayError 429 if so many are not left."""
        self._turn()
        if self._most is not None:
            if self._spent + self._reserved + tokens > self._most:
                raise GatewayError(
                    429,
                    "TokensPerDaySpent",
                    f"{self._most - self._spent - self._reserved} of {self._most} tokens are left "
                    f"of this day (UTC), and this request may take {tokens} "
                    "(external.tokensPerDay). Ask for fewer, or try again tomorrow.",
                    retry_after_seconds=int(DAY_SECONDS - self._clock() % DAY_SECONDS) + 1,
                )
            self._reserved += tokens
            self._write()
        return self._day

    def settle(self, day: int, reserved: int, spent: int) -> None:
        """A request of `day` has ended."""
        self._turn()
        if self._most is None or day != self._day:
            return
        self._reserved -= reserved
        self._spent += spent
        self._write()

    def _turn(self) -> None:
        day = int(self._clock() // DAY_SECONDS)
        if day != self._day:
            self._day, self._spent, self._reserved = day, 0, 0

    def _remember(self) -> None:
        self._turn()
        try:
            said = json.loads(self._file.read_text())
        except FileNotFoundError:
            return
        if said["day"] == self._day:
            self._spent = said["spent"]

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"day": self._day, "spent": self._spent + self._reserved}))
        os.replace(new, self._file)


def bounded_request(body: dict[str, Any], body_bytes: int, *, newer: bool) -> tuple[Any, int]:
    """The request with a bound on its output, and the most tokens that it may take.

    A token is at least one byte, so a body has at most as many as bytes. `newer`: the provider
    calls the bound max_completion_tokens.
    """
    asked = [body[name] for name in _COUNTS if isinstance(body.get(name), int)]
    if not asked:
        body = {**body, _COUNTS[0] if newer else _COUNTS[1]: OUTPUT_TOKENS}
    most = max(0, max(asked, default=OUTPUT_TOKENS))
    answers = body.get("n")
    return body, body_bytes + most * (answers if isinstance(answers, int) and answers > 0 else 1)
