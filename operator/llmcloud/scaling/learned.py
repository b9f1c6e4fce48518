"""llmcloud's policy: capacity learned, arriving work apart from backlog, one jump.

Three needs, of which the largest counts:
- recent load: the fewest replicas that would have held what arrived within a window (shadow.py);
- general load: rho + BETA * sqrt(rho) slots for an offered load of rho slots, the square-root
  rule of Halfin and Whitt (1981), along its trend to the end of a cold start;
- backlog: what will wait when a replica asked for now is ready, given those that are ready, those
  that are coming and their ETAs, to be served within another cold start beside what arrives.
Windows and tolerances follow the measured cold start: waiting a tenth of it is not worth one.
A policy that has just begun gives up none of the replicas that it found before it has watched the
load for a window itself.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil, inf, sqrt
from typing import Final

from llmcloud.scaling.arrivals import Arrivals
from llmcloud.scaling.capacity import Capacity
from llmcloud.scaling.observation import Bounds, Decision, Observation
from llmcloud.scaling.shadow import ShadowQueues

TOLERANCE: Final = 0.1
"""Of a cold start: how long requests may wait for what came unforeseen."""
LEAST_TOLERANCE_SECONDS: Final = 1.0
HOLD_SECONDS: Final = 300.0
"""And at least one cold start: how long load is remembered that has not yet come back."""
LONGEST_HOLD_SECONDS: Final = 1800.0
LONGEST_HOLD_COLD_STARTS: Final = 4.0
BELIEVED_COLD_START_SECONDS: Final = 120.0
BETA: Final = 0.7
GENERAL_HOLD: Final = (180.0, 0.5)
BACKLOG_HOLD: Final = (20.0, 1.0)
"""Seconds, and cold starts: for so long the highest need counts. What a backlog asked for is not
given up before it could serve."""


class _Highest:
    """The highest value of a sliding window."""

    def __init__(self) -> None:
        self._values: deque[tuple[float, int]] = deque()

    def add(self, now: float, value: int, seconds: float) -> int:
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        values.append((now, value))
        while values[0][0] < now - seconds:
            values.popleft()
        return values[0][1]


@dataclass(frozen=True)
class Needs:
    """Replicas that each need asks for."""

    recent: int = 0
    general: int = 0
    backlog: int = 0


@dataclass(frozen=True)
class LearnedSettings:
    """What a deployment may set instead of having it learned."""

    hold_seconds: float | None = None
    """How long load is remembered, at least and at most; the 30 s that a rate is measured over and
    BACKLOG_HOLD come on top."""
    zero_after_seconds: float = 900.0
    cold_start_seconds: float = BELIEVED_COLD_START_SECONDS
    """Believed until one has been measured."""


class LearnedPolicy:
    """One deployment. `judge` wants to be asked every second or so."""

    interval_seconds = 1.0

    def __init__(self, bounds: Bounds, settings: LearnedSettings | None = None) -> None:
        self._bounds = bounds
        self._settings = settings or LearnedSettings()
        self._capacity = Capacity(self._settings.cold_start_seconds)
        self._shadows = ShadowQueues(bounds)
        fixed = self._settings.hold_seconds
        self._arrivals = Arrivals() if fixed is None else Arrivals(fixed)
        self._general = _Highest()
        self._backlog = _Highest()
        self._before: tuple[float, Observation] | None = None
        self._busy_at = -inf
        self._found: tuple[float, int] | None = None
        """When the policy began, and how many replicas there were."""
        self.needs = Needs()

    def decide(self, now: float, observation: Observation) -> int:
        """The number of replicas alone."""
        return self.judge(now, observation).replicas

    def judge(self, now: float, observation: Observation | None, current: int = 0) -> Decision:
        """The number of replicas, and why. Without an observation, `current` is held."""
        if observation is None:
            held = self._bounds.clamp(current)
            return Decision(held, "no samples from the gateways: holding", holding=True)
        passed = self._learn(now, observation)
        wanted, reason = self._need(now, observation, passed)
        if self._bounds.min_replicas == 0:
            silence = max(now - self._busy_at, observation.idle_seconds)
            if silence >= self._settings.zero_after_seconds:
                return Decision(0, f"no request for {self._settings.zero_after_seconds:.0f} s")
            if observation.replicas == 0 and silence > 0:
                return Decision(0, "no request waits")
        if wanted > self._bounds.max_replicas:
            most = self._bounds.max_replicas
            return Decision(most, f"{reason}: at maxReplicas", limited=True)
        if wanted < self._bounds.min_replicas:
            return Decision(self._bounds.min_replicas, f"{reason}: at minReplicas")
        return Decision(wanted, reason)

    @property
    def service_seconds(self) -> float:
        """How long a request holds its slot, as learned; 0: not known yet."""
        return self._capacity.service_seconds

    @property
    def cold_start_seconds(self) -> float:
        """From a replica's creation to its first Ready, as learned or believed."""
        return self._capacity.cold_start_seconds

    def _hold_windows(self) -> tuple[float, float]:
        fixed = self._settings.hold_seconds
        if fixed is not None:
            return fixed, fixed
        cold = self._capacity.cold_start_seconds
        longest = max(LONGEST_HOLD_SECONDS, LONGEST_HOLD_COLD_STARTS * cold)
        return max(HOLD_SECONDS, cold), longest

    def _learn(self, now: float, seen: Observation) -> float | None:
        """Seconds since the observation before; None for the first."""
        before, self._before = self._before, (now, seen)
        # A gateway that starts anew counts from zero.
        arrivals = max(0, seen.arrivals - before[1].arrivals) if before else 0
        self._arrivals.add(now, arrivals)
        # What comes and is answered between two observations is in neither of them.
        if arrivals or seen.in_flight or seen.waiting or before is None:
            self._busy_at = now
        if before is None:
            self._found = (now, seen.replicas)
            return None
        passed = now - before[0]
        capacity = self._capacity
        capacity.learn(before[1], seen, passed)
        service = capacity.service_seconds
        if service > 0:
            self._shadows.pass_on(
                now,
                passed,
                arrivals,
                service,
                max(LEAST_TOLERANCE_SECONDS, TOLERANCE * capacity.cold_start_seconds),
                self._hold_windows()[1],
            )
        return passed

    def _need(self, now: float, seen: Observation, passed: float | None) -> tuple[int, str]:
        service = self._capacity.service_seconds
        if passed is None or service <= 0:
            needed = max(seen.replicas, 1 if seen.waiting else 0)
            return needed, "nothing is known of its requests yet"
        cold = self._capacity.cold_start_seconds
        recent = self._shadows.enough(now, *self._hold_windows())
        load = self._arrivals.general_rate(cold) * service
        slots = self._bounds.slots
        fixed = self._settings.hold_seconds
        general_seconds = max(GENERAL_HOLD[0], GENERAL_HOLD[1] * cold) if fixed is None else fixed
        rule = ceil((load + BETA * sqrt(load)) / slots)
        general = self._general.add(now, rule, general_seconds)
        waiting, jump = self._jump(seen, service, cold)
        backlog_seconds = max(BACKLOG_HOLD[0], BACKLOG_HOLD[1] * cold)
        backlog = self._backlog.add(now, jump, backlog_seconds)
        self.needs = Needs(recent, general, backlog)
        needed = max(recent, general, backlog)
        kept = self._kept(now)
        if needed < kept:
            return kept, "the load has not been watched for long enough to give up replicas"
        if needed == backlog > max(recent, general):
            return needed, (
                f"{seen.waiting} wait now and {waiting:.0f} in {cold:.0f} s without more replicas"
            )
        if needed == general > recent:
            return needed, f"arriving requests keep {load:.0f} of {slots} slots per replica busy"
        if needed > 1:
            return needed, f"{needed - 1} would have been too few for what arrived lately"
        return needed, "the load fits"

    def _kept(self, now: float) -> int:
        began, replicas = self._found or (now, 0)
        return replicas if now - began < self._hold_windows()[0] else 0

    def _jump(self, seen: Observation, service: float, cold: float) -> tuple[float, int]:
        """What will wait after a cold start, and the replicas that clear it within another."""
        rate = self._arrivals.rate(cold)
        each = self._bounds.slots / service
        coming = sum(cold - eta for eta in self._capacity.etas(seen) if eta < cold)
        served = each * (seen.ready * cold + coming)
        waiting = max(0.0, seen.waiting + rate * cold - served)
        needed = ceil((rate + waiting / cold) / each - 1e-9)
        return waiting, max(needed, 1 if seen.waiting else 0)
