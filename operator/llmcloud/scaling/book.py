"""The gateways' samples, summed per deployment and remembered for a window."""

from collections import deque
from dataclasses import dataclass, field

from llmcloud.api.contract import GatewaySamples
from llmcloud.scaling.decide import Load, Policy, decide

WINDOW_SECONDS = 86400.0
STALE_SECONDS = 10.0


@dataclass
class _Entry:
    since: float
    seen: float
    in_flight: int = 0
    waiting: int = 0
    idle_seconds: float = 0.0
    peaks: deque[tuple[float, int]] = field(default_factory=deque)
    """(time, requests), requests falling: only those that a later one has not topped."""


class LoadBook:
    """Loads by (namespace, name). Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._targets: dict[tuple[str, str], tuple[Policy, int]] = {}
        self._now = 0.0

    def record(self, now: float, gateways: list[GatewaySamples | None]) -> None:
        """One round over all gateways. A gateway that did not answer (None) voids the round."""
        self._now = now
        if not gateways or any(samples is None for samples in gateways):
            return
        sums: dict[tuple[str, str], tuple[int, int, float]] = {}
        for samples in gateways:
            assert samples is not None
            for s in samples.samples:
                flight, waiting, idle = sums.get((s.namespace, s.name), (0, 0, float("inf")))
                sums[(s.namespace, s.name)] = (
                    flight + s.in_flight,
                    waiting + s.waiting,
                    min(idle, s.idle_seconds),
                )
        self._entries = {key: entry for key, entry in self._entries.items() if key in sums}
        for key, (flight, waiting, idle) in sums.items():
            entry = self._entries.setdefault(key, _Entry(since=now, seen=now))
            entry.seen, entry.in_flight, entry.waiting = now, flight, waiting
            entry.idle_seconds = idle
            while entry.peaks and entry.peaks[-1][1] <= flight + waiting:
                entry.peaks.pop()
            entry.peaks.append((now, flight + waiting))
            while entry.peaks[0][0] < now - WINDOW_SECONDS:
                entry.peaks.popleft()

    def load(self, namespace: str, name: str, policy: Policy) -> Load | None:
        """The load now; None without a recent sample, which is not the same as zero."""
        entry = self._entries.get((namespace, name))
        if entry is None or self._now - entry.seen > STALE_SECONDS:
            return None
        start = self._now - policy.scale_down_delay_seconds
        # Peaks fall with time, so the first one inside the window is the highest; the one that
        # was in force when the window began is older than the window itself.
        inside = [requests for at, requests in entry.peaks if at >= start]
        return Load(
            in_flight=entry.in_flight,
            waiting=entry.waiting,
            idle_seconds=entry.idle_seconds,
            peak_in_flight=max(inside, default=entry.in_flight + entry.waiting),
            observed_seconds=self._now - entry.since,
        )

    def watch(self, namespace: str, name: str, policy: Policy, current: int) -> None:
        """Note how many replicas a deployment has, to tell when that number should change."""
        self._targets[(namespace, name)] = (policy, current)

    def forget(self, namespace: str, name: str) -> None:
        """Watch a deployment no longer."""
        self._targets.pop((namespace, name), None)

    def changed(self) -> list[tuple[str, str]]:
        """(namespace, name) of the watched deployments whose number of replicas should change."""
        return [
            key
            for key, (policy, current) in self._targets.items()
            if decide(current, self.load(*key, policy), policy).replicas != current
        ]
