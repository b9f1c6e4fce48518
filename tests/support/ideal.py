"""An ideal cluster: a dictionary of objects that does at once, and only, what a plan says.

It keeps the API server's rules that plans must respect: a Job's specification never changes, a
delete names a uid, no finalizer is added to an object that is being deleted, and fields that the
schema does not know are dropped. Pods do nothing by themselves; tests draw their fates.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from llmcloud.api.accesskey import KeyUsage
from llmcloud.api.contract import GroupSample, Progress
from llmcloud.api.kinds import KINDS
from llmcloud.api.leases import KeySample
from llmcloud.api.names import ANNOTATION_INTENT, FINALIZER, LABEL_COMPONENT, Kind
from llmcloud.cluster.execute import with_intent
from llmcloud.plan.accesskey import KeyWorld, plan_access_key
from llmcloud.plan.autoscaling import ScalingView
from llmcloud.plan.canary import Evidence
from llmcloud.plan.children import JobView, PodView, job_view, pod_view
from llmcloud.plan.dataset import DatasetWorld, plan_dataset
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld, engine_view
from llmcloud.plan.failures import obstacle
from llmcloud.plan.group import ROOM
from llmcloud.plan.model import Manifest, ObjectRef, Owner, Plan, from_timestamp, owner_from
from llmcloud.plan.model import timestamp as written
from llmcloud.plan.objectstore import StoreWorld, plan_object_store
from llmcloud.plan.routes import RoutesWorld, plan_routes
from llmcloud.plan.training import plan_training
from llmcloud.plan.training_world import TrainingWorld
from llmcloud.scaling.observation import Decision
from tests.support import worlds

Step = Callable[[], None]
GRACE_SECONDS = 30
"""What pods have if nothing else is said: a deletionTimestamp is when it ends."""


@dataclass
class IdealCluster:
    """One custom resource, what it refers to, its children and their pods."""

    owner: Manifest
    references: dict[tuple[Kind, str], Owner] = field(default_factory=dict)
    children: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    pods: dict[str, Manifest] = field(default_factory=dict)
    progress: Progress | None = None
    in_use: frozenset[str] = frozenset()
    decision: Decision | None = None
    loads: dict[str, int] = field(default_factory=dict)
    counted: tuple[str | None, GroupSample, GroupSample] | None = None
    """What gateways counted of the stable revision and of the canary, and in which window (None:
    in every one). None: they do not answer."""
    key_samples: dict[str, KeySample] = field(default_factory=dict)
    key_usage: KeyUsage | None = None
    gone: bool = False
    made: list[str] = field(default_factory=list)
    """Names of all Jobs ever made, in order."""
    history: list[str] = field(default_factory=list)

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(f"{self.kind} after {self.history}")

    def copy(self) -> "IdealCluster":
        """An equal cluster that goes its own way."""
        return replace(
            self,
            owner=copy.deepcopy(self.owner),
            references=dict(self.references),
            key_samples=dict(self.key_samples),
            children=copy.deepcopy(self.children),
            pods=copy.deepcopy(self.pods),
            made=list(self.made),
        )

    @property
    def kind(self) -> Kind:
        return Kind(self.owner["kind"])

    def jobs(self) -> list[Manifest]:
        """The Jobs in the order of their attempts."""
        jobs = [child for (kind, _), child in self.children.items() if kind == "Job"]
        return sorted(jobs, key=lambda job: int(job["metadata"]["labels"]["llmcloud.dev/attempt"]))

    def active_jobs(self) -> list[Manifest]:
        """The Jobs of attempts that have not ended."""
        return [job for job in self.jobs() if not job.get("status") and not is_room(job)]

    def state(self) -> dict[str, Any]:
        """All that a converged cluster is compared by."""
        return {
            "gone": self.gone,
            "status": self.owner["status"],
            "finalizers": self.owner["metadata"].get("finalizers", []),
            "children": self.children,
            "pods": self.pods,
        }

    def plan(self, now: datetime) -> Plan:
        """What the operator would do now."""
        if self.gone:
            return Plan()
        owner = owner_from(copy.deepcopy(self.owner))
        pods = [pod_view(raw) for raw in self.pods.values()]
        views = tuple(job_view(raw, pods) for raw in self.jobs())
        jobs = tuple(job for job in views if job.role != ROOM)
        room = next((job for job in reversed(views) if job.role == ROOM), None)
        match self.kind:
            case Kind.OBJECT_STORE:
                deleted = self.owner["metadata"].get("deletionTimestamp")
                since = from_timestamp(deleted) if deleted else None
                store = StoreWorld(owner, jobs, now, since, tuple(pods))
                return plan_object_store(store, worlds.DEFAULTS)
            case Kind.DATASET:
                stores = tuple((n, self._reference(Kind.OBJECT_STORE, n)) for n in ("work", "raw"))
                world = DatasetWorld(owner, stores, jobs, now, self.progress, self.in_use)
                return plan_dataset(world, worlds.DEFAULTS)
            case Kind.TRAINING_JOB:
                return plan_training(
                    replace(self._training(owner, jobs, pods, now), room=room), worlds.DEFAULTS
                )
            case Kind.DEPLOYMENT:
                return plan_deployment(self._deployment(owner, pods, now), worlds.DEFAULTS)
            case Kind.ACCESS_KEY:
                key = KeyWorld(owner, now, self.key_samples, self.key_usage)
                return plan_access_key(key, worlds.DEFAULTS)

    def _reference(self, kind: Kind, name: str) -> Owner | None:
        return self.references.get((kind, name))

    def _training(
        self, owner: Owner, jobs: tuple[JobView, ...], pods: list[PodView], now: datetime
    ) -> TrainingWorld:
        stores = (("work", self._reference(Kind.OBJECT_STORE, "work")),)
        corpus = self._reference(Kind.DATASET, "corpus")
        # As observe.py: what is under way with nothing in its way needs no references.
        if jobs and jobs[-1].active and not obstacle(jobs[-1].pods, jobs[-1].warnings):
            return TrainingWorld(owner, (), (), jobs, now, tuple(pods), self.progress)
        datasets = (corpus,) if corpus else ()
        return TrainingWorld(owner, datasets, stores, jobs, now, tuple(pods), self.progress)

    def _deployment(self, owner: Owner, pods: list[PodView], now: datetime) -> DeploymentWorld:
        engines = [child for key, child in self.children.items() if is_engine(*key)]
        egress = self.children.get(("Deployment", f"{owner.name}-egress"))
        return DeploymentWorld(
            owner,
            self._reference(Kind.TRAINING_JOB, "train"),
            self._reference(Kind.OBJECT_STORE, "work"),
            tuple(engine_view(engine) for engine in engines),
            tuple(pod for pod in pods if pod.component != "egress"),
            now,
            ScalingView(self.decision, None, self.loads),
            "",
            engine_view(egress) if egress else None,
            tuple(pod for pod in pods if pod.component == "egress"),
            evidence=self._evidence(owner),
        )

    def _evidence(self, owner: Owner) -> Evidence | None:
        """As the gateways count: of the window that the status names."""
        canary = owner.status.get("canary")
        if self.counted is None:
            return None
        window, *counts = self.counted
        if not canary or window not in (None, canary.get("stepStartTime")):
            return Evidence()
        names = (owner.status["model"]["revision"], canary["revision"])
        return Evidence(dict(zip(names, counts, strict=True)))

    def steps(self, plan: Plan, now: datetime) -> list[Step]:
        """The steps of the executor, in its order."""
        if self.gone:
            return []
        steps: list[Step] = []
        held = FINALIZER in self.owner["metadata"].get("finalizers", [])
        if plan.finalizer and not held:
            steps.append(self._hold)
        steps += [partial(self._apply, manifest, now) for manifest in plan.applies]
        steps += [partial(self._delete, ref, now) for ref in plan.deletes]
        if not plan.finalizer and held:
            steps.append(self._release)
        if plan.status is not None:
            steps.append(partial(self._write_status, plan.status))
        return steps

    def execute(self, plan: Plan, now: datetime, most: int | None = None) -> None:
        """Do the plan, or only its first steps."""
        for step in self.steps(plan, now)[:most]:
            step()

    def converge(self, now: datetime, looks: int = 6) -> Plan:
        """Look and execute until nothing changes; the last plan."""
        for _ in range(looks):
            before = copy.deepcopy(self.state())
            plan = self.plan(now)
            self.execute(plan, now)
            if self.state() == before:
                return plan
        raise AssertionError(f"not settled after {looks} looks: {self.owner['status']}")

    def _hold(self) -> None:
        meta = self.owner["metadata"]
        assert "deletionTimestamp" not in meta, "no finalizer may be added to what is going"
        meta["finalizers"] = [*meta.get("finalizers", []), FINALIZER]

    def _release(self) -> None:
        meta = self.owner["metadata"]
        meta["finalizers"] = [f for f in meta["finalizers"] if f != FINALIZER]
        self.collect()

    def collect(self) -> None:
        """The garbage collector: what is being deleted and held by nothing goes, with its own."""
        meta = self.owner["metadata"]
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            self.gone = True
            self.children.clear()
            self.pods.clear()

    def _apply(self, manifest: Manifest, now: datetime) -> None:
        intended = with_intent(manifest)
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "Pod":
            meta = self.pods[name]["metadata"]
            assert meta["uid"] == manifest["metadata"]["uid"], "a namesake would be marked"
            meta["annotations"] = intended["metadata"]["annotations"]
            return
        key = (manifest["kind"], name)
        there = self.children.get(key)
        if there is None:
            meta = {"uid": f"uid-{name}", "creationTimestamp": written(now)}
            self.children[key] = {**intended, "metadata": {**intended["metadata"], **meta}}
            if manifest["kind"] == "Job" and not is_room(manifest):
                self.made.append(name)
            return
        assert manifest["kind"] != "Job" or there["spec"] == manifest["spec"], "a Job was changed"
        there["spec"] = intended["spec"]
        there["metadata"] |= intended["metadata"]

    def _delete(self, ref: ObjectRef, now: datetime) -> None:
        there = self.children.get((ref.kind, ref.name))
        if there is not None and there["metadata"]["uid"] == ref.uid:
            self.lose(ref.kind, ref.name, now)

    def lose(self, kind: str, name: str, now: datetime) -> None:
        """A child goes; its pods are asked to stop."""
        del self.children[(kind, name)]
        for pod in self.pods.values():
            if pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name") == name:
                grace = timedelta(seconds=GRACE_SECONDS)
                pod["metadata"]["deletionTimestamp"] = written(now + grace)

    def _write_status(self, status: Manifest) -> None:
        model = KINDS[self.kind].status
        pruned = model.model_validate(status).model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_unset=True
        )
        assert pruned == status, "the API server would drop members or nulls of the status"
        before, after = spent_in(self.owner["status"]), spent_in(status)
        assert all(after[name] >= value for name, value in before.items()), "time was taken back"
        self.owner["status"] = copy.deepcopy(status)


def spent_in(status: Manifest) -> dict[str, float]:
    """The numbers of a training job's goodput, which only grow."""
    goodput = dict(status.get("goodput") or {})
    lost: dict[str, float] = goodput.pop("lostSeconds", {})
    goodput.pop("mfu", None)
    return goodput | lost


def is_engine(kind: str, name: str) -> bool:
    """Whether a child is the Deployment of an engine's revision."""
    return kind == "Deployment" and "-engine-" in name


def is_room(job: Manifest) -> bool:
    """Whether a Job only asks for nodes."""
    return bool(job["metadata"]["labels"].get(LABEL_COMPONENT) == ROOM)


def intents_hold(cluster: IdealCluster, plan: Plan) -> bool:
    """Whether everything that the plan applies is there as intended."""
    for manifest in plan.applies:
        there = cluster.children.get((manifest["kind"], manifest["metadata"]["name"]))
        wanted = with_intent(manifest)["metadata"]["annotations"][ANNOTATION_INTENT]
        if there is None or there["metadata"]["annotations"].get(ANNOTATION_INTENT) != wanted:
            return False
    return True


def plan_routes_of(clusters: list[IdealCluster]) -> Plan:
    """The route table over several clusters' LLMDeployments."""
    owners = tuple(owner_from(cluster.owner) for cluster in clusters if not cluster.gone)
    pods = {
        cluster.owner["metadata"]["uid"]: tuple(pod_view(raw) for raw in cluster.pods.values())
        for cluster in clusters
    }
    return plan_routes(RoutesWorld("system", owners, pods))
