"""Is a canary worse than what serves beside it? Both are counted in the same window.

Errors are compared by their share. So are refusals (4xx), but they are mostly the clients' doing,
and affinity keeps a client with one of the two: only a canary that refuses most of what it is asked
is worse. First tokens are compared by the geometric mean of their times: sums of logarithms add up
over gateways, and one slow first request does not decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp

from llmcloud.api.contract import GroupSample
from llmcloud.api.rollout import Abort

LONGEST_STEP = 4
"""So many stepSeconds a step waits for minRequests; then what has been seen decides."""
REFUSED_PERCENT = 50
"""So many of a hundred requests more than the stable replicas a canary may refuse."""
LEAST_REFUSALS = 10
"""Fewer requests than these never say that."""


@dataclass(frozen=True)
class Evidence:
    """What all gateways have counted since the step began, by revision."""

    groups: Mapping[str, GroupSample] = field(default_factory=dict)

    def of(self, revision: str) -> GroupSample:
        """Of one revision."""
        return self.groups.get(revision, GroupSample(name=revision))


def complaint(stable: GroupSample, canary: GroupSample, abort: Abort, *, last: bool = False) -> str:
    """Why the canary is to be rolled back; empty if it is not.

    `last`: the step ends, so that fewer than minRequests must do to judge errors.
    """
    if canary.requests >= (1 if last else abort.min_requests):
        failed = _percent(canary.errors, canary)
        if failed > _percent(stable.errors, stable) + abort.error_percent:
            return (
                f"{canary.errors} of its {canary.requests} requests failed ({failed:.1f} %), of "
                f"the stable replicas' {stable.errors} of {stable.requests}; errorPercent is "
                f"{abort.error_percent}"
            )
        refused = _percent(canary.refusals, canary)
        most = _percent(stable.refusals, stable) + REFUSED_PERCENT
        if canary.requests >= LEAST_REFUSALS and refused > most:
            return (
                f"it refused {canary.refusals} of its {canary.requests} requests with 4xx "
                f"({refused:.1f} %), the stable replicas {stable.refusals} of {stable.requests}"
            )
    if min(canary.streams, stable.streams) >= abort.min_requests:
        slower = 100 * (exp(_mean_log(canary) - _mean_log(stable)) - 1)
        if slower > abort.time_to_first_token_percent:
            return (
                f"its first tokens took {slower:.0f} % longer than the stable replicas' in "
                f"{canary.streams} streams (geometric means {exp(_mean_log(canary)):.3f} s and "
                f"{exp(_mean_log(stable)):.3f} s); timeToFirstTokenPercent is "
                f"{abort.time_to_first_token_percent}"
            )
    return ""


def _percent(part: int, group: GroupSample) -> float:
    return 100 * part / group.requests if group.requests else 0.0


def _mean_log(group: GroupSample) -> float:
    return group.log_seconds / group.streams
