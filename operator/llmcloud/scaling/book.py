"""The gateways' samples, summed per deployment, and each deployment's policy judging them.

Counters of gateways that come, go and start anew are turned into counters that only grow, so that
a roll of the gateways is no load. Times are seconds of one monotonic clock.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from llmcloud.api.contract import GatewaySamples, GroupSample, RouteSample
from llmcloud.scaling.learned import (
    LearnedPolicy,
    LearnedSettings,
)
from llmcloud.scaling.observation import Bounds, Decision, Observation

STALE_SECONDS = 10.0
Key = tuple[str, str]
"""Namespace and name of a deployment."""


@dataclass(frozen=True)
class Terms:
    """What a deployment asks of its policy. When any of it changes, a new policy begins."""

    bounds: Bounds
    hold_seconds: float | None
    zero_after_seconds: float
    profile: str
    """Which model on which hardware: what is learned of one does not hold for another."""


@dataclass(frozen=True)
class Replicas:
    """The cluster's side of a deployment, as last seen."""

    asked: int
    endpoints: tuple[str, ...]
    """Of the ready replicas."""
    pending_since: tuple[float, ...]
    """When each replica that starts was created, oldest first."""


@dataclass(frozen=True)
class Traffic:
    """All gateways together. Counters begin when this process first saw the deployment."""

    in_flight: int = 0
    waiting: int = 0
    idle_seconds: float = float("inf")
    arrivals: int = 0
    completions: int = 0
    flight_seconds: float = 0.0
    loads: Mapping[str, int] = field(default_factory=dict)
    """In flight by endpoint."""
    groups: Mapping[tuple[str, str], GroupSample] = field(default_factory=dict)
    """What gateways counted while a canary is tried, by window and revision."""


@dataclass
class _Watched:
    terms: Terms
    policy: LearnedPolicy
    replicas: Replicas
    since: float
    used: Decision | None
    judged: Decision | None = None


class ScalingBook:
    """Samples go in by `record`, deployments by `watch`; `judge` says which should change."""

    def __init__(self) -> None:
        self._traffic: dict[Key, Traffic] = {}
        self._counted: dict[str, dict[Key, RouteSample]] = {}
        """The last samples of each gateway."""
        self._seen = float("-inf")
        self._watched: dict[Key, _Watched] = {}

    def record(self, now: float, gateways: Mapping[str, GatewaySamples | None]) -> None:
        """One round over all gateways, by identity. One that did not answer voids the round."""
        answers = {name: samples for name, samples in gateways.items() if samples is not None}
        if not answers or len(answers) < len(gateways):
            return
        sums: dict[Key, Traffic] = {}
        counted: dict[str, dict[Key, RouteSample]] = {}
        for name, samples in answers.items():
            before = self._counted.get(name)
            counted[name] = {(s.namespace, s.name): s for s in samples.samples}
            for key, sample in counted[name].items():
                total = sums.get(key) or _counters(self._traffic.get(key))
                # What a gateway counted before this process knew it says nothing of now.
                earlier = sample if before is None else before.get(key)
                sums[key] = _added(total, sample, earlier)
        self._traffic, self._counted, self._seen = sums, counted, now

    def watch(
        self,
        now: float,
        key: Key,
        terms: Terms,
        replicas: Replicas,
        used: Decision | None,
        cold_start_seconds: float | None = None,
    ) -> None:
        """Judge a deployment from now on. `used`: the decision that its replicas follow now.

        `cold_start_seconds` is believed until a cold start has been measured.
        """
        watched = self._watched.get(key)
        if watched is None or watched.terms != terms:
            believed = (
                {} if cold_start_seconds is None else {"cold_start_seconds": cold_start_seconds}
            )
            settings = LearnedSettings(
                hold_seconds=terms.hold_seconds,
                zero_after_seconds=terms.zero_after_seconds,
                **believed,
            )
            policy = LearnedPolicy(terms.bounds, settings)
            self._watched[key] = _Watched(terms, policy, replicas, now, used)
        else:
            watched.replicas, watched.used = replicas, used

    def forget(self, key: Key) -> None:
        """Judge a deployment no longer."""
        self._watched.pop(key, None)

    def judge(self, now: float) -> list[Key]:
        """Have every policy decide; the deployments whose replicas change, or who has to be told
        that samples are missing or that maxReplicas is too few.

        Without a sample for `STALE_SECONDS` the number is held.
        """
        changed = []
        for key, watched in self._watched.items():
            traffic, replicas = self._traffic.get(key), watched.replicas
            if traffic is not None and self._seen == now:
                observation = _observation(now, traffic, replicas)
                watched.judged = watched.policy.judge(now, observation)
            elif now - max(watched.since, self._seen if traffic else watched.since) > STALE_SECONDS:
                watched.judged = watched.policy.judge(now, None, replicas.asked)
            judged, used = watched.judged, watched.used
            if judged is None:
                continue
            told = (used.holding, used.limited) if used is not None else (False, False)
            if judged.replicas != replicas.asked or (judged.holding, judged.limited) != told:
                changed.append(key)
        return changed

    def decision(self, key: Key) -> Decision | None:
        """The last decision; None before the first."""
        watched = self._watched.get(key)
        return watched.judged if watched else None

    def loads(self, key: Key) -> Mapping[str, int]:
        """Requests in flight by endpoint, as last sampled."""
        return self._traffic.get(key, Traffic()).loads

    def groups(self, now: float, key: Key, window: str) -> Mapping[str, GroupSample] | None:
        """What all gateways counted of each revision in a window of a canary.

        None: there was no complete round for `STALE_SECONDS`.
        """
        if now - self._seen > STALE_SECONDS:
            return None
        counted = self._traffic.get(key, Traffic()).groups
        return {name: group for (when, name), group in counted.items() if when == window}

    def explain(self) -> Iterator[tuple[Key, LearnedPolicy, Decision]]:
        """Every judged deployment, what its policy has learned, and its last decision."""
        for key, watched in self._watched.items():
            if watched.judged is not None:
                yield key, watched.policy, watched.judged


def _counters(before: Traffic | None) -> Traffic:
    if before is None:
        return Traffic()
    return Traffic(
        arrivals=before.arrivals,
        completions=before.completions,
        flight_seconds=before.flight_seconds,
    )


def _added(total: Traffic, sample: RouteSample, before: RouteSample | None) -> Traffic:
    if before is not None and sample.arrivals < before.arrivals:
        before = None  # the gateway started anew and counts from zero
    loads = dict(total.loads)
    for endpoint, load in sample.loads.items():
        loads[endpoint] = loads.get(endpoint, 0) + load
    flown = before.flight_seconds if before else 0.0
    return Traffic(
        in_flight=total.in_flight + sample.in_flight,
        waiting=total.waiting + sample.waiting,
        idle_seconds=min(total.idle_seconds, sample.idle_seconds),
        arrivals=total.arrivals + sample.arrivals - (before.arrivals if before else 0),
        completions=total.completions
        + max(0, sample.completions - (before.completions if before else 0)),
        flight_seconds=total.flight_seconds + max(0.0, sample.flight_seconds - flown),
        loads=loads,
        groups=_grouped(total.groups, sample),
    )


def _grouped(
    total: Mapping[tuple[str, str], GroupSample], sample: RouteSample
) -> dict[tuple[str, str], GroupSample]:
    """Gateways begin to count with the window: what they have counted adds up as it is."""
    groups = dict(total)
    for group in sample.groups:
        key = (sample.window, group.name)
        before = groups.get(key, GroupSample(name=group.name))
        groups[key] = GroupSample(
            name=group.name,
            requests=before.requests + group.requests,
            errors=before.errors + group.errors,
            refusals=before.refusals + group.refusals,
            streams=before.streams + group.streams,
            log_seconds=before.log_seconds + group.log_seconds,
        )
    return groups


def _observation(now: float, traffic: Traffic, replicas: Replicas) -> Observation:
    return Observation(
        replicas=replicas.asked,
        loads=tuple([traffic.loads.get(endpoint, 0) for endpoint in replicas.endpoints]),
        pending_seconds=tuple([max(0.0, now - since) for since in replicas.pending_since]),
        in_flight=traffic.in_flight,
        waiting=traffic.waiting,
        arrivals=traffic.arrivals,
        completions=traffic.completions,
        flight_seconds=traffic.flight_seconds,
        idle_seconds=traffic.idle_seconds,
    )
