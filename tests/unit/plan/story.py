"""A deployment on an ideal cluster, and what happens to it, one thing after the other."""

import copy

from llmcloud.api.names import LABEL_REVISION, Kind
from llmcloud.plan.conditions import notices
from llmcloud.plan.model import Manifest
from llmcloud.scaling.observation import Decision
from tests.support import worlds
from tests.support.ideal import IdealCluster
from tests.unit.plan import happenings as happen
from tests.unit.plan.fates import CANARY, CHANGES


class Story:
    """A deployment of `replicas` that serve, and what happens to it; the operator looks at once."""

    def __init__(self, replicas: int = 1, rollout: Manifest | None = CANARY) -> None:
        spec = {"rollout": rollout} if rollout else {}
        spec["scaling"] = {"minReplicas": 0, "maxReplicas": 8}
        raw = worlds.raw_owner(Kind.DEPLOYMENT, spec=spec)
        self.cluster = IdealCluster(raw, happen.references())
        self.cluster.decision = Decision(replicas, "the load")
        self.now = worlds.NOW
        self.events: list[str] = []
        self.look()
        self.happen(happen.replicas_ready)

    def look(self) -> None:
        before = copy.deepcopy(self.cluster.owner["status"])
        self.cluster.converge(self.now)
        self.events += [notice.reason for notice in notices(before, self.status)]

    def happen(self, *fates: happen.Fate, seconds: float = 0) -> "Story":
        for fate in fates:
            fate(self.cluster, self.now)
            self.look()
        return self.after(seconds) if seconds else self

    def after(self, seconds: float) -> "Story":
        self.now = worlds.at((self.now - worlds.NOW).total_seconds() + seconds)
        self.look()
        return self

    @property
    def status(self) -> Manifest:
        status: Manifest = self.cluster.owner["status"]
        return status

    @property
    def stable(self) -> str:
        revision: str = self.status["model"]["revision"]
        return revision

    @property
    def said(self) -> tuple[str, str]:
        return worlds.said(self.status)

    def weight(self) -> int:
        weight: int = self.status["canary"]["weight"]
        return weight

    def replicas(self) -> dict[str, int]:
        """The replicas that each revision's Deployment asks for."""
        return {
            engine["metadata"]["labels"].get(LABEL_REVISION, ""): engine["spec"]["replicas"]
            for engine in happen.engines(self.cluster)
        }

    def changed(self) -> "Story":
        return self.happen(CHANGES["more memory"])

    def tried(self) -> "Story":
        """The canary's replica is ready."""
        return self.changed().happen(happen.replicas_ready)
