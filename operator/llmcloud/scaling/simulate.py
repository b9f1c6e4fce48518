"""One model under a trace: event by event, deterministic by seed.

A replica serves `slots` requests at once, each for a + b * input + c * output seconds however
full it is. Requests that find no free slot wait in one queue at the gateway, first in, first
out; the others go to the replica with the least load. A new replica serves after the cold start;
one that is to go takes no more requests and ends when it is empty. Replicas that are not ready
go first, the newest first, then those with the least load.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from math import ceil, inf

from llmcloud.scaling.observation import Bounds, Observation, ScalingPolicy

PATIENCE_SECONDS = 86400.0
"""After the last arrival: what still waits then is given up."""
COLD_START_SPREAD = 0.1
"""Cold starts are uniform within this fraction of the model's."""


@dataclass(frozen=True, slots=True)
class Request:
    """One line of a trace."""

    time: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Model:
    """One model on one kind of hardware. Service: a + b * input + c * output seconds."""

    bounds: Bounds
    base_seconds: float
    seconds_per_input_token: float
    seconds_per_output_token: float
    cold_start_seconds: float
    warm_replicas: int = 1

    def service_seconds(self, request: Request) -> float:
        """How long a request holds its slot."""
        return (
            self.base_seconds
            + self.seconds_per_input_token * request.input_tokens
            + self.seconds_per_output_token * request.output_tokens
        )


@dataclass(slots=True)
class Outcome:
    """What came of a run. `waits` in order of arrival; GPU-hours from pod creation to exit."""

    waits: list[float]
    gpu_hours: float
    most_replicas: int
    reversals: int
    unserved: int
    end_seconds: float
    timeline: list[tuple[float, int]]
    """(time, replicas asked for), one entry per change."""
    _sorted: list[float] = field(default_factory=list)

    def wait_percentile(self, percent: float) -> float:
        """Seconds, by nearest rank; 0 for an empty trace."""
        if not self._sorted:
            self._sorted = sorted(self.waits)
        if not self._sorted:
            return 0.0
        return self._sorted[max(0, ceil(percent / 100 * len(self._sorted)) - 1)]


class _Replica:
    __slots__ = ("created", "draining", "load")

    def __init__(self, created: float) -> None:
        self.created = created
        self.load = 0
        self.draining = False


class _Run:
    """The state between two events."""

    def __init__(self, trace: Sequence[Request], model: Model, seed: int) -> None:
        self.model = model
        self.random = random.Random(seed)
        self.arrivals = [request.time for request in trace]
        self.services = [model.service_seconds(request) for request in trace]
        self.waits = [0.0] * len(trace)
        self.ready = [_Replica(0.0) for _ in range(model.warm_replicas)]
        self.pending: list[_Replica] = []
        self.queue: deque[int] = deque()
        self.completions: list[tuple[float, int, _Replica]] = []
        self.starts: list[tuple[float, int, _Replica]] = []
        self.in_flight = self.arrived = self.completed = self.created = 0
        self.flight_seconds = self.request_seconds = self.replica_seconds = 0.0
        self.now = 0.0

    def advance(self, now: float) -> None:
        """Let time pass."""
        passed = now - self.now
        self.flight_seconds += self.in_flight * passed
        self.request_seconds += (self.in_flight + len(self.queue)) * passed
        self.now = now

    def serve(self, request: int, replica: _Replica) -> None:
        """Give a request to a replica that has a free slot."""
        replica.load += 1
        self.in_flight += 1
        self.waits[request] = self.now - self.arrivals[request]
        heappush(self.completions, (self.now + self.services[request], request, replica))

    def arrive(self) -> None:
        """The next request of the trace."""
        request = self.arrived
        self.arrived += 1
        least = self.model.bounds.slots
        chosen = None
        if not self.queue:
            for replica in self.ready:
                if replica.load < least:
                    least, chosen = replica.load, replica
                    if not least:
                        break
        if chosen is None:
            self.queue.append(request)
        else:
            self.serve(request, chosen)

    def complete(self) -> None:
        """The next completion: the slot goes to whoever waits longest."""
        _, _, replica = heappop(self.completions)
        replica.load -= 1
        self.in_flight -= 1
        self.completed += 1
        if not replica.draining:
            if self.queue:
                self.serve(self.queue.popleft(), replica)
        elif not replica.load:
            self.replica_seconds += self.now - replica.created

    def start(self) -> None:
        """The next replica to end its cold start, if it was not given up meanwhile."""
        _, _, replica = heappop(self.starts)
        if replica.draining:
            return
        self.pending.remove(replica)
        self.ready.append(replica)
        while self.queue and replica.load < self.model.bounds.slots:
            self.serve(self.queue.popleft(), replica)

    def scale(self, wanted: int) -> None:
        """Create replicas, or let some go."""
        cold = self.model.cold_start_seconds
        while len(self.ready) + len(self.pending) < wanted:
            replica = _Replica(self.now)
            self.created += 1
            self.pending.append(replica)
            spread = self.random.uniform(1 - COLD_START_SPREAD, 1 + COLD_START_SPREAD)
            heappush(self.starts, (self.now + cold * spread, self.created, replica))
        while len(self.ready) + len(self.pending) > wanted:
            if self.pending:
                replica = self.pending.pop()
            else:
                replica = min(self.ready, key=lambda one: one.load)
                self.ready.remove(replica)
            replica.draining = True
            if not replica.load:
                self.replica_seconds += self.now - replica.created

    def observe(self) -> Observation:
        """What a policy is told."""
        return Observation(
            replicas=len(self.ready) + len(self.pending),
            loads=tuple([replica.load for replica in self.ready]),
            pending_seconds=tuple([self.now - replica.created for replica in self.pending]),
            in_flight=self.in_flight,
            waiting=len(self.queue),
            arrivals=self.arrived,
            completions=self.completed,
            flight_seconds=self.flight_seconds,
            request_seconds=self.request_seconds,
        )


def simulate(
    trace: Sequence[Request], model: Model, policy: ScalingPolicy, seed: int = 1
) -> Outcome:
    """Run `trace` (by time, from 0 on) under `policy`, until the last request is served.

    The seed draws cold starts and the phase of the policy's clock.
    """
    run = _Run(trace, model, seed)
    tick = run.random.random() * policy.interval_seconds
    timeline = [(0.0, model.warm_replicas)]
    arrivals, completions, starts = run.arrivals, run.completions, run.starts
    total = len(arrivals)
    give_up = (arrivals[-1] if arrivals else 0.0) + PATIENCE_SECONDS
    while run.arrived < total or run.in_flight or run.queue:
        arrival = arrivals[run.arrived] if run.arrived < total else inf
        completion = completions[0][0] if completions else inf
        start = starts[0][0] if starts else inf
        now = min(arrival, completion, start, tick)
        if now > give_up:
            break
        run.advance(now)
        if now == completion:
            run.complete()
        elif now == arrival:
            run.arrive()
        elif now == start:
            run.start()
        else:
            tick += policy.interval_seconds
            wanted = policy.decide(now, run.observe())
            if wanted != timeline[-1][1]:
                run.scale(wanted)
                timeline.append((now, wanted))
    for request in run.queue:
        run.waits[request] = run.now - arrivals[request]
    alive = sum(run.now - replica.created for replica in (*run.ready, *run.pending))
    return Outcome(
        waits=run.waits,
        gpu_hours=(run.replica_seconds + alive) / 3600,
        most_replicas=max(replicas for _, replicas in timeline),
        reversals=_reversals([replicas for _, replicas in timeline]),
        unserved=len(run.queue),
        end_seconds=run.now,
        timeline=timeline,
    )


def _reversals(counts: list[int]) -> int:
    """How often the direction changes."""
    ups = [after > before for before, after in pairwise(counts)]
    return sum(one != other for one, other in pairwise(ups))
