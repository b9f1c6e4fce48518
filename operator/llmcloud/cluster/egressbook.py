"""What egress pods with a budget report, and which deployments therefore need a look."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.external import EGRESS_REPORT_PORT
from llmcloud.api.leases import KeySample
from llmcloud.plan.children import PodView
from llmcloud.plan.egress_budget import budget_of, leases_of, untold
from llmcloud.plan.model import Owner

SILENT_SECONDS: Final = 10.0
"""A pod that was not heard for so long asks for nothing."""
Key = tuple[str, str]
"""Namespace and name of a deployment."""


@dataclass
class _Watched:
    owner: Owner
    budget: int
    pods: tuple[PodView, ...]
    heard: dict[str, tuple[float, KeySample]] = field(default_factory=dict)


class EgressBook:
    """Deployments go in by `watch`, samples by `record`; `due` says which should change."""

    def __init__(self) -> None:
        self._watched: dict[Key, _Watched] = {}
        self._now = 0.0

    def watch(
        self, owner: Owner, spec: LLMDeploymentSpec, pods: Iterable[PodView]
    ) -> Mapping[str, KeySample]:
        """A deployment as it is, and what its egress pods told last. Without a budget it is not
        watched."""
        key, budget = (owner.namespace, owner.name), budget_of(spec)
        if budget is None or owner.deleting:
            self._watched.pop(key, None)
            return {}
        before = self._watched.get(key)
        same = before is not None and before.owner.uid == owner.uid
        heard = before.heard if before is not None and same else {}
        running = tuple(pod for pod in pods if pod.ip and pod.phase == "Running")
        known = {pod.name: heard[pod.name] for pod in running if pod.name in heard}
        watched = self._watched[key] = _Watched(owner, budget, running, known)
        return _fresh(watched, self._now)

    def forget(self, namespace: str, name: str) -> None:
        """The deployment is gone."""
        self._watched.pop((namespace, name), None)

    def urls(self) -> dict[tuple[Key, str], str]:
        """Where to ask, by deployment and pod."""
        return {
            (key, pod.name): f"http://{pod.ip}:{EGRESS_REPORT_PORT}/samples"
            for key, watched in self._watched.items()
            for pod in watched.pods
        }

    def record(self, now: float, heard: Mapping[tuple[Key, str], KeySample | None]) -> None:
        """One round of answers. `now`: seconds of one monotonic clock."""
        self._now = now
        for (key, pod), sample in heard.items():
            watched = self._watched.get(key)
            if watched is not None and sample is not None:
                watched.heard[pod] = (now, sample)

    def due(self, now: datetime) -> list[Key]:
        """Deployments whose leases should change, or whose pods do not know theirs."""
        return sorted(key for key, watched in self._watched.items() if self._is_due(watched, now))

    def _is_due(self, watched: _Watched, now: datetime) -> bool:
        owner, budget = watched.owner, watched.budget
        leases = leases_of(owner, budget, _fresh(watched, self._now), now)
        if [lease.wire() for lease in leases] != (owner.status.get("leases") or []):
            return True
        return bool(untold(owner, budget, watched.pods))


def _fresh(watched: _Watched, now: float) -> dict[str, KeySample]:
    return {
        pod: sample
        for pod, (heard, sample) in watched.heard.items()
        if now - heard <= SILENT_SECONDS
    }
