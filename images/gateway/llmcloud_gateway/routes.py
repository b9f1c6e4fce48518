"""The live routes: which models exist, their replicas' load, and who waits for a free one.

`Routes.apply` brings a new table in without losing what is in flight or held. Nothing here does
I/O; the clock is an argument.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from llmcloud.api.contract import GatewaySamples, Route, RouteSample, RouteTable
from llmcloud.api.prompt import Prompt
from llmcloud_gateway.affinity import bound
from llmcloud_gateway.errors import GatewayError, model_not_found
from llmcloud_gateway.groups import Group, Groups
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.metrics import RouteStats
from llmcloud_gateway.upstream import Pool

Clock = Callable[[], float]
FALLBACK_IN_FLIGHT = 1024
"""Per egress pod; what the provider bears is its own to say."""
_CAUSES = {
    "QueueFull": "overload",
    "HoldDeadlineExceeded": "overload",
    "EngineUnreachable": "failure",
    "EngineFailed": "failure",
}
_turns = count()


class Replica:
    """One endpoint of a route. It outlives its place in the table while requests are on it."""

    __slots__ = ("ejections", "endpoint", "group", "in_flight", "last_turn", "pool")

    def __init__(self, endpoint: str, group: Group, limits: Limits) -> None:
        self.endpoint = endpoint
        self.group = group
        self.pool = Pool(endpoint, limits.connect_seconds, limits.engine_idle_seconds)
        self.in_flight = 0
        self.ejections = 0
        """How many ejections are not over yet; with any, it gets no requests."""
        self.last_turn = 0


class Place(asyncio.Future[Replica]):
    """A place in a route's queue, which gets a replica."""

    def __init__(self, number: int) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.number = number


class LiveRoute:
    """One deployment: its replicas, its queue, its counts."""

    def __init__(self, route: Route, limits: Limits, clock: Clock) -> None:
        self.route = route
        self.stats = RouteStats()
        self.in_flight = 0
        self.fallback: LiveRoute | None = None
        """What answers where the replicas cannot: the endpoints of another model."""
        self._completions = 0
        self._ends_less_starts = 0.0
        self._limits = limits
        self._clock = clock
        self._replicas: dict[str, Replica] = {}
        self._waiting: deque[Place] = deque()
        self._last_number = 0
        self.groups = Groups()
        self._last_active = clock()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def in_flight_on_fallback(self) -> int:
        return self.fallback.in_flight if self.fallback is not None else 0

    def sample(self) -> RouteSample:
        busy = self.in_flight or self._waiting
        now = self._clock()
        return RouteSample(
            namespace=self.route.namespace,
            name=self.route.name,
            in_flight=self.in_flight,
            waiting=self.waiting,
            idle_seconds=0.0 if busy else round(now - self._last_active, 3),
            arrivals=self.stats.arrivals,
            completions=self._completions,
            flight_seconds=round(max(0.0, self._ends_less_starts + self.in_flight * now), 3),
            loads={e: r.in_flight for e, r in self._replicas.items() if r.in_flight},
            window=self.route.window,
            groups=[group.sample() for group in self.groups] if self.route.groups else [],
        )

    def arrive(self) -> None:
        """Counts a request that this route will answer, whatever the answer."""
        self.stats.arrivals += 1
        self._last_active = self._clock()

    # Places on replicas

    def take(self, blocks: Sequence[int] = (), tried: Collection[Replica] = ()) -> Replica | None:
        """A place on a replica, or None if the request has to wait.

        On one that knows the prompt's `blocks` if its load is bounded, else on the least loaded.
        Ties go to the replica that was chosen longest ago; replicas in `tried` come last.
        """
        if self._waiting:
            return None
        if tried:
            return self._take_free(tried)
        group = self.groups.choose(blocks)
        if blocks and len(group.endpoints) > 1:
            replica = self._knowing(blocks, group)
            if replica is not None:
                return self._begin(replica)
        return self._take_free((), group) or self._take_free()

    def _knowing(self, blocks: Sequence[int], group: Group) -> Replica | None:
        most = bound(group.in_flight, len(group.endpoints))
        most = min(most, self.route.in_flight_per_replica)
        for endpoint in group.affinity.candidates(blocks):
            replica = self._replicas.get(endpoint)
            if replica is not None and replica.in_flight < most and not replica.ejections:
                return replica
        return None

    def remember(self, blocks: Sequence[int], replica: Replica) -> None:
        """The replica serves a prompt of these blocks."""
        if len(self._replicas) > 1:
            replica.group.affinity.served(blocks, replica.endpoint)

    def _take_free(
        self, tried: Collection[Replica] = (), group: Group | None = None
    ) -> Replica | None:
        """Of one group, else of any that may have more than its share."""
        cap = self.route.in_flight_per_replica
        best: Replica | None = None
        best_load = (False, 0, 0)
        for replica in self._replicas.values():
            if replica.in_flight >= cap or replica.ejections:
                continue
            if replica.group is not group and (group or not self.groups.may_take(replica.group)):
                continue
            load = (replica in tried, replica.in_flight, replica.last_turn)
            if best is None or load < best_load:
                best, best_load = replica, load
        return self._begin(best) if best is not None else None

    def _begin(self, replica: Replica) -> Replica:
        replica.in_flight += 1
        replica.last_turn = next(_turns)
        self.groups.charge(replica.group)
        self.in_flight += 1
        self._ends_less_starts -= self._clock()
        return replica

    def release(self, replica: Replica) -> None:
        """Frees a place that `take` or a waiting future gave."""
        replica.in_flight -= 1
        replica.group.in_flight -= 1
        self.in_flight -= 1
        self._completions += 1
        self._last_active = self._clock()
        self._ends_less_starts += self._last_active
        self.serve_waiting()

    def fallback_for(self, reason: str) -> "LiveRoute | None":
        """What answers instead, where the replicas failed a request for that reason."""
        cause = _CAUSES.get(reason)
        if cause == "overload" and all(one.ejections for one in self._replicas.values()):
            cause = "failure" if self._replicas else "coldStart"
        return self.fallback if cause in self.route.fallback_when else None

    def eject(self, replica: Replica) -> None:
        """Gives `replica` no requests until `readmit` has been called as often."""
        replica.ejections += 1

    def readmit(self, replica: Replica) -> None:
        """Ends one ejection of `replica`."""
        replica.ejections -= 1
        self.serve_waiting()

    # The queue

    def wait(self, *, first: bool) -> Place:
        """A place in the queue. GatewayError 503 if it is full.

        `first`: a request that had its turn before and lost its replica; it is never refused.
        The caller hands the place to `leave` if it gives up.
        """
        if first:
            place = Place((self._waiting[0].number if self._waiting else self._last_number) - 1)
            self._waiting.appendleft(place)
            return place
        if len(self._waiting) >= self.route.hold_max_requests:
            raise GatewayError(
                503,
                "QueueFull",
                f"All replicas of {self.route.model!r} are busy or starting and "
                f"{len(self._waiting)} requests wait already (spec.hold.maxRequests). Try again.",
                retry_after_seconds=1 if self._replicas else 10,
            )
        self._last_number += 1
        place = Place(self._last_number)
        self._waiting.append(place)
        return place

    def position(self, place: Place) -> int:
        """From 1, of a place that still waits. Who left from between may be counted yet."""
        return min(max(0, place.number - self._waiting[0].number) + 1, len(self._waiting))

    def leave(self, place: Place) -> None:
        """Gives up a place in the queue, or the replica if it came at the same moment."""
        if place.done():
            if not place.cancelled() and place.exception() is None:
                self.release(place.result())
        else:
            self._waiting.remove(place)
            place.cancel()
            self._last_active = self._clock()

    def serve_waiting(self) -> None:
        """Gives free places to those who wait, in order."""
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            replica = self._take_free()
            if replica is None:
                return
            self._waiting.popleft().set_result(replica)

    # Changes of the table

    def update(self, route: Route) -> None:
        """Takes a new version of the route; replicas that stay keep their load."""
        self.route = route
        self.groups.update(route)
        kept = {endpoint: self._replicas.pop(endpoint, None) for endpoint in route.endpoints}
        for gone in self._replicas.values():
            gone.pool.close()
            gone.group = Group(gone.group.name)
        self._replicas = {}
        for endpoint, known in kept.items():
            group = self.groups.of(endpoint)
            self._replicas[endpoint] = known or Replica(endpoint, group, self._limits)
            self._replicas[endpoint].group = group
        self.groups.recount((one.group, one.in_flight) for one in self._replicas.values())
        self._update_fallback()
        self.serve_waiting()

    def _update_fallback(self) -> None:
        route = self.route
        if not route.fallback_when:
            if self.fallback is not None:
                self.fallback.remove()
            self.fallback = None
            return
        instead = {
            "endpoints": route.fallback_endpoints,
            "groups": [],
            "fallback_when": [],
            "in_flight_per_replica": FALLBACK_IN_FLIGHT,
            "hold_max_requests": 0,
        }
        spill = route.model_copy(update=instead)
        if self.fallback is None:
            self.fallback = LiveRoute(spill, self._limits, self._clock)
            self.fallback.stats = self.stats
        self.fallback.update(spill)

    def remove(self) -> None:
        """The deployment is gone: what is in flight ends, who waits hears it."""
        for replica in self._replicas.values():
            replica.pool.close()
        self._replicas = {}
        if self.fallback is not None:
            self.fallback.remove()
        for place in self._waiting:
            if not place.done():
                place.set_exception(model_not_found(self.route.model, self.route.namespace))
        self._waiting.clear()


class Served(NamedTuple):
    """A name that clients ask for: a deployment's model, an adapter of it, or a prompt with it."""

    model: str
    live: LiveRoute
    prompt: Prompt | None = None


def _served(live: LiveRoute) -> Iterator[Served]:
    route = live.route
    yield Served(route.model, live)
    for adapter in route.adapters:
        yield Served(f"{route.model}:{adapter}", live)
    for prompt in route.prompts:
        yield Served(f"{route.model}/{prompt.name}", live, prompt)


class Routes:
    """All live routes, found by (namespace, model), or by model alone where shared."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.loaded = False
        self.anonymous = False
        """Whether any route is open to all."""
        self._limits = limits
        self._clock = clock
        self._live: dict[tuple[str, str], LiveRoute] = {}
        self._by_model: dict[tuple[str | None, str], Served] = {}

    def __iter__(self) -> Iterator[LiveRoute]:
        return iter(self._live.values())

    def apply(self, table: RouteTable) -> None:
        """Makes `table` what is served from now on. The oldest deployment keeps a model's name."""
        before, self._live, self._by_model = self._live, {}, {}
        for route in sorted(table.routes, key=lambda r: (r.created, r.namespace, r.name)):
            key = (route.namespace, route.name)
            live = before.pop(key, None) or LiveRoute(route, self._limits, self._clock)
            live.update(route)
            self._live[key] = live
            for served in _served(live):
                self._by_model.setdefault((route.namespace, served.model), served)
                if route.shared:
                    self._by_model.setdefault((None, served.model), served)
        for gone in before.values():
            gone.remove()
        self.anonymous = any(route.anonymous for route in table.routes)
        self.loaded = True

    def find(self, namespace: str | None, model: str) -> Served | None:
        return self._by_model.get((namespace, model))

    def models(self, namespace: str | None) -> list[Served]:
        """What is served below /v1 (None) or /ns/NAMESPACE/v1."""
        return [served for (where, _), served in self._by_model.items() if where == namespace]

    def samples(self) -> GatewaySamples:
        return GatewaySamples(samples=[live.sample() for live in self])
