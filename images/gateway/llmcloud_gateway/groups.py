"""The groups of a route's replicas: who gets the next request, and how each group answers.

A route has one group, or two while a canary is tried. Shares are kept by smooth weighted round
robin: every request gives each group its share of credit and takes one from the group that gets
it. A conversation stays with the group that knows most of its beginning while that group is at
most `SLACK` requests ahead of its share, so that a canary is not judged by cold caches.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import log

from llmcloud.api.contract import GroupSample, Route, RouteGroup
from llmcloud_gateway.affinity import Affinity

SLACK = 8
"""Requests that a group may be ahead of its share, or have to make up."""
LEAST_SECONDS = 1e-4
"""A first byte that came sooner counts as this late: the logarithm is bounded."""


class Tally:
    """How a group has answered in one window."""

    __slots__ = ("errors", "log_seconds", "refusals", "requests", "streams")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.refusals = 0
        self.streams = 0
        self.log_seconds = 0.0

    def ended(self, status: int) -> None:
        """An engine took a request and answered it; 5xx also if it failed to."""
        self.requests += 1
        if status >= 500:
            self.errors += 1
        elif status >= 400:
            self.refusals += 1

    def began(self, seconds: float) -> None:
        """The first byte of a stream came that long after the engine had been asked."""
        self.streams += 1
        self.log_seconds += log(max(seconds, LEAST_SECONDS))


class Group:
    """Replicas of one revision, by endpoint."""

    __slots__ = ("affinity", "credit", "endpoints", "in_flight", "name", "share", "tally")

    def __init__(self, name: str) -> None:
        self.name = name
        self.endpoints: frozenset[str] = frozenset()
        self.share = 1.0
        self.credit = 0.0
        self.in_flight = 0
        self.affinity = Affinity()
        self.tally = Tally()

    def sample(self) -> GroupSample:
        tally = self.tally
        return GroupSample(
            name=self.name,
            requests=tally.requests,
            errors=tally.errors,
            refusals=tally.refusals,
            streams=tally.streams,
            log_seconds=round(tally.log_seconds, 6),
        )


class Groups:
    """All groups of one route, the stable one first."""

    def __init__(self) -> None:
        self._groups = [Group("")]
        self._window = ""

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    def update(self, route: Route) -> None:
        """Takes a new version of the route. What is remembered of prompts stays with endpoints."""
        given = route.groups or [RouteGroup(name="", weight=1, endpoints=route.endpoints)]
        before = {group.name: group for group in self._groups}
        regrouped = before.keys() != {one.name for one in given}
        memories = [group.affinity for group in self._groups]
        total = sum(one.weight for one in given) or 1
        self._groups = []
        for one in given:
            group = before.get(one.name) or Group(one.name)
            endpoints = frozenset(one.endpoints)
            if regrouped:
                group.affinity = Affinity.of(memories, endpoints)
                group.credit = 0.0
            if regrouped or endpoints != group.endpoints:
                group.affinity.place(endpoints)
            group.endpoints, group.share = endpoints, one.weight / total
            if route.window != self._window:
                group.tally = Tally()
            self._groups.append(group)
        self._window = route.window

    def choose(self, blocks: Sequence[int]) -> Group:
        """The group that the next request should go to."""
        first = self._groups[0]
        if len(self._groups) == 1:
            return first
        if blocks:
            depths = [group.affinity.known(blocks) for group in self._groups]
            deepest = max(depths)
            if depths.count(deepest) == 1:
                group = self._groups[depths.index(deepest)]
                if self._has_slack(group):
                    return group
        shared = [group for group in self._groups if group.share]
        return max(shared, key=lambda group: group.credit + group.share, default=first)

    def may_take(self, group: Group) -> bool:
        """Whether a group may get a request that another should have had and has no place for.

        The stable one always, the others within their slack or where the stable one has nobody.
        """
        stable = self._groups[0]
        return group is stable or not stable.endpoints or self._has_slack(group)

    def _has_slack(self, group: Group) -> bool:
        return group.share > 0 and group.credit + group.share - 1 > -SLACK

    def charge(self, taken: Group) -> None:
        """A request went to a group."""
        taken.in_flight += 1
        if len(self._groups) == 1:
            return
        for group in self._groups:
            credit = group.credit + group.share - (group is taken)
            group.credit = min(max(credit, -SLACK), SLACK)

    def of(self, endpoint: str) -> Group:
        """The group of an endpoint; of none that is named, the stable one."""
        groups = (group for group in self._groups if endpoint in group.endpoints)
        return next(groups, self._groups[0])

    def recount(self, loads: Iterable[tuple[Group, int]]) -> None:
        """The requests in flight, by group, after replicas came or went."""
        for group in self._groups:
            group.in_flight = 0
        for group, in_flight in loads:
            group.in_flight += in_flight
