"""How a key's budgets are shared out: windows of time, and the slices of them that gateways hold.

A budget is for a window of the clock in UTC, a minute or a day. A gateway spends at most what is
leased to it for a window, and every lease is in the LLMAccessKey's status before it is spent.
"""

from datetime import UTC, datetime
from typing import Final

from pydantic import Field

from llmcloud.api.base import ApiModel

MINUTE_SECONDS: Final = 60
DAY_SECONDS: Final = 86400


class KeyLease(ApiModel):
    """What one gateway may spend in one window, altogether."""

    gateway: str = Field(
        description="The gateway's process; empty: processes that are gone.", max_length=128
    )
    window: str = Field(
        description="The UTC minute (2026-05-01T12:00Z) or day (2026-05-01).", max_length=32
    )
    requests: int = Field(default=0, description="Requests.", ge=0)
    tokens: int = Field(default=0, description="Tokens.", ge=0)


class WindowSample(ApiModel):
    """What a gateway has spent of a key's budgets in one window, and what waits."""

    window: str
    requests: int
    tokens: int  # spent, and reserved by requests in flight
    wanted_requests: int
    wanted_tokens: int


class KeySample(ApiModel):
    """What one gateway counts of one key. Counters begin with the gateway's process."""

    namespace: str
    name: str
    requests: int
    input_tokens: int
    output_tokens: int
    last_used: int  # Unix seconds
    windows: list[WindowSample]


def minute_of(now: float) -> str:
    """The UTC minute of a Unix time."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%MZ")


def day_of(now: float) -> str:
    """The UTC day of a Unix time."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def is_day(window: str) -> bool:
    """Whether a window is a day; else it is a minute."""
    return len(window) == len("2026-05-01")


def window_start(window: str) -> float:
    """When a window begins, Unix seconds. ValueError if it is none."""
    moment = datetime.fromisoformat(window)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def window_seconds(window: str) -> int:
    """How long a window lasts."""
    return DAY_SECONDS if is_day(window) else MINUTE_SECONDS
