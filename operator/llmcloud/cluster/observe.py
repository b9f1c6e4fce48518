"""Read the truth: the object, its children, what it refers to, what its pods report.

References are noted, so that a change of what an object refers to wakes it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.model import TrainingJobModel
from llmcloud.api.names import API_VERSION, LABEL_COMPONENT, LABEL_OWNER_UID, Kind
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.cluster.adapters import adapter_views
from llmcloud.cluster.client import Client, object_path
from llmcloud.cluster.egressbook import EgressBook
from llmcloud.cluster.engines import engine_objects, engine_views
from llmcloud.cluster.execute import Intents, engine_intent, intent_of
from llmcloud.cluster.jobs import read_jobs, read_pods
from llmcloud.cluster.keybook import KeyBook
from llmcloud.cluster.nodes import Nodes
from llmcloud.cluster.outputs import Outputs
from llmcloud.cluster.remains import Remains
from llmcloud.cluster.reports import Reports
from llmcloud.cluster.shared_reads import SharedReads
from llmcloud.cluster.warnings import Awaited, explain
from llmcloud.plan.accelerators import Catalogue, NodeLabels
from llmcloud.plan.accesskey import KeyWorld
from llmcloud.plan.autoscaling import ScalingView, desired_replicas, endpoint, scaling_terms
from llmcloud.plan.canary import Evidence
from llmcloud.plan.children import JobView, PodView, pod_view
from llmcloud.plan.coldstart import to_measure, total_seconds
from llmcloud.plan.dataset import DatasetWorld, dataset_stores
from llmcloud.plan.deployment_world import DeploymentWorld, engine_view, lacks_pods, served_name
from llmcloud.plan.ended import is_final
from llmcloud.plan.failures import obstacle
from llmcloud.plan.group import ROOM
from llmcloud.plan.manifests.egress import COMPONENT as EGRESS
from llmcloud.plan.manifests.engine import COMPONENT as ENGINE
from llmcloud.plan.manifests.engine import WORKER
from llmcloud.plan.model import Manifest, Owner, Plan, from_timestamp, owner_from, parse
from llmcloud.plan.objectstore import StoreWorld
from llmcloud.plan.rollout import counting_window
from llmcloud.plan.routes import RoutesWorld, holders, unrouted, valid
from llmcloud.plan.served_model import matches, newest_passing, pinned_model, trained_model
from llmcloud.plan.tokenizers import tokenizer_jobs
from llmcloud.plan.training_world import TrainingWorld, dataset_names, model_references, store_names
from llmcloud.plan.versions import versions_in_use, versions_may_go
from llmcloud.plan.waiting import is_stuck, needs_events
from llmcloud.scaling.book import Replicas, ScalingBook

Reference = tuple[Kind, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True)
class Scope:
    """Where this installation looks: its own namespace, and None for all or the one watched."""

    own_namespace: str
    watched_namespace: str | None


class Observer:
    """Builds the World of each kind."""

    def __init__(
        self,
        client: Client,
        reports: Reports,
        book: ScalingBook,
        keys: KeyBook,
        egress: EgressBook,
        scope: Scope,
        note: Callable[[Reference, Iterable[Reference]], None],
        catalogue: Catalogue,
    ) -> None:
        self._client = client
        self._reports = reports
        self._book = book
        self._keys = keys
        self._egress = egress
        self._scope = scope
        self._note = note
        self._nodes = Nodes(client, catalogue.labels())
        self._reads = SharedReads[Owner | None]()
        self._awaited = Awaited()
        self._outputs = Outputs()
        self._remains = Remains(client)

    async def owner(self, kind: Kind, namespace: str, name: str) -> Owner | None:
        """The custom resource, or None."""
        raw = await self._client.get(object_path(API_VERSION, kind, namespace, name))
        return owner_from(raw) if raw else None

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """The object is gone: it refers to nothing and needs no replicas."""
        self._note((Kind(kind), namespace, name), ())
        self._awaited.note((kind, namespace, name), waits=False)
        if kind == Kind.DEPLOYMENT:
            self._book.forget((namespace, name))
            self._egress.forget(namespace, name)
        if kind == Kind.ACCESS_KEY:
            self._keys.forget(namespace, name)
        if kind == Kind.TRAINING_JOB:
            self._outputs.forget(namespace, name)
            self._remains.forget(namespace, name)

    async def _referred(self, kind: Kind, namespace: str, name: str) -> Owner | None:
        """What many may refer to."""
        read = partial(self.owner, kind, namespace, name)
        return await self._reads.read((kind, namespace, name), read)

    async def _owners(
        self, kind: Kind, namespace: str, names: Iterable[str]
    ) -> tuple[tuple[str, Owner | None], ...]:
        wanted = tuple(dict.fromkeys(names))
        found = await asyncio.gather(*(self._referred(kind, namespace, name) for name in wanted))
        return tuple(zip(wanted, found, strict=True))

    async def store_world(self, owner: Owner) -> tuple[StoreWorld, Intents]:
        """The World of an ObjectStore."""
        jobs, pods = await read_jobs(self._client, owner)
        deleted = owner.raw["metadata"].get("deletionTimestamp")
        since = from_timestamp(deleted) if deleted else None
        crowd = self._crowd(owner, jobs)
        return StoreWorld(owner, jobs, datetime.now(UTC), since, pods, crowd), {}

    def _crowd(self, owner: Owner, jobs: Iterable[JobView]) -> int:
        """How many objects wait for their pods, if this one has these Jobs."""
        waits = any(needs_events(job) for job in jobs)
        return self._awaited.note((owner.kind, owner.namespace, owner.name), waits=waits)

    async def dataset_world(self, owner: Owner) -> tuple[DatasetWorld, Intents]:
        """The World of an LLMDataset."""
        spec = parse(LLMDatasetSpec, owner.spec)
        references = () if isinstance(spec, str) else tokenizer_jobs(spec)
        trainings = await self._trainings(owner.namespace, references)
        names = () if isinstance(spec, str) else dataset_stores(spec, trainings)
        self._note(
            (owner.kind, owner.namespace, owner.name),
            [
                *((Kind.OBJECT_STORE, owner.namespace, name) for name in names),
                *((Kind.TRAINING_JOB, owner.namespace, job.name or "") for job in references),
            ],
        )
        stores = await self._owners(Kind.OBJECT_STORE, owner.namespace, names)
        jobs, pods = await read_jobs(self._client, owner)
        progress = await self._reports.progress(pods)
        in_use: frozenset[str] = frozenset()
        if not isinstance(spec, str) and versions_may_go(owner, spec.keep_versions, jobs):
            in_use = await self._versions_in_use(owner.namespace)
        now, crowd = datetime.now(UTC), self._crowd(owner, jobs)
        return DatasetWorld(owner, stores, jobs, now, progress, in_use, trainings, crowd), {}

    async def _versions_in_use(self, namespace: str) -> frozenset[str]:
        return versions_in_use(await self._all(Kind.TRAINING_JOB, namespace))

    async def training_world(self, owner: Owner) -> tuple[TrainingWorld, Intents]:
        """The World of an LLMTrainingJob.

        One that has ended needs no look but at what is left of it, and one whose Job is under way
        with nothing in its way needs none at what it refers to.
        """
        now = datetime.now(UTC)
        spec = parse(LLMTrainingJobSpec, owner.spec)
        if is_final(owner) or isinstance(spec, str):
            self._outputs.forget(owner.namespace, owner.name)
        if is_final(owner):
            return TrainingWorld(owner, (), (), await self._remains.jobs(owner, now), now), {}
        if isinstance(spec, str):
            return TrainingWorld(owner, (), (), (), now), {}
        jobs, pods = await read_jobs(self._client, owner)
        room = next((job for job in reversed(jobs) if job.role == ROOM), None)
        jobs = tuple(job for job in jobs if job.role != ROOM)
        pods = tuple(pod for pod in pods if room is None or pod.job != room.name)
        progress = await self._reports.progress(pods)
        crowd = self._crowd(owner, jobs)
        rival = await self._outputs.rival(owner, spec, self._referred)
        live = [job for job in jobs if not job.deleting]
        under_way = live and live[-1].active and not obstacle(live[-1].pods, live[-1].warnings)
        if spec.suspend or under_way:
            nodes = await self._placed_nodes(spec) if spec.nodes.max > spec.nodes.min else ()
            world = TrainingWorld(owner, (), (), jobs, now, pods, progress, nodes, room)
            return replace(world, crowd=crowd), {}
        found = dict(await self._owners(Kind.DATASET, owner.namespace, dataset_names(spec)))
        world = TrainingWorld(
            owner,
            tuple(filter(None, found.values())),
            (),
            jobs,
            now,
            pods,
            progress,
            await self._placed_nodes(spec),
            room,
            await self._trainings(owner.namespace, model_references(spec)),
        )
        stores = store_names(spec, world)
        trainings = [job.name for job in world.trainings]
        # Without a name: any job of the namespace may become the newest.
        trainings += [job.name or "" for job in model_references(spec)] + [rival] * bool(rival)
        names = ((Kind.DATASET, found), (Kind.OBJECT_STORE, stores), (Kind.TRAINING_JOB, trainings))
        self._note(
            (owner.kind, owner.namespace, owner.name),
            [(kind, owner.namespace, name) for kind, each in names for name in each],
        )
        access = await self._owners(Kind.OBJECT_STORE, owner.namespace, stores)
        return replace(world, stores=access, crowd=crowd, rival=rival), {}

    async def _placed_nodes(
        self, spec: LLMTrainingJobSpec | LLMDeploymentSpec
    ) -> NodeLabels | None:
        """The nodes' labels, if they decide anything; None in an installation for one namespace."""
        if not spec.resources.accelerator and not any(p.capacity for p in spec.placement):
            return ()
        return None if self._scope.watched_namespace else await self._nodes.labels()

    async def _trainings(
        self, namespace: str, references: tuple[TrainingJobModel, ...]
    ) -> tuple[Owner, ...]:
        """The jobs that are named or selected, each once."""
        found: dict[str, Owner] = {}
        for reference in references:
            if reference.selector is None:
                job = await self._referred(Kind.TRAINING_JOB, namespace, str(reference.name))
                found |= {job.name: job} if job else {}
                continue
            jobs = await self._all(Kind.TRAINING_JOB, namespace)
            found |= {job.name: job for job in jobs if matches(reference, job)}
        return tuple(found.values())

    async def deployment_world(self, owner: Owner) -> tuple[DeploymentWorld, Intents]:
        """The World of an LLMDeployment."""
        now = datetime.now(UTC)
        spec = parse(LLMDeploymentSpec, owner.spec)
        if isinstance(spec, str):
            return DeploymentWorld(owner, None, None, (), (), now), {}
        others = valid(await self.deployments())
        holder = holders(others).get(served_name(owner, spec))
        taken = holder is not None and holder.uid != owner.uid and not owner.deleting
        rival = [(holder.kind, holder.namespace, holder.name)] if holder and taken else []
        adapters, named = await adapter_views(owner, spec, self._served_job, self._referred)
        job, store = await self._model_references(owner, spec, [*rival, *named])
        at = (owner.namespace, owner.name)
        (raws, following), egress, budget, policy = await asyncio.gather(
            engine_objects(self._client, owner, spec),
            self._child("apps/v1", "Deployment", *at, EGRESS),
            self._child("policy/v1", "PodDisruptionBudget", *at, ENGINE),
            self._child("networking.k8s.io/v1", "NetworkPolicy", *at, "serving"),
        )
        spread = spec.nodes.max > 1
        service = await self._child("v1", "Service", *at, "nodes") if spread else None
        alone = egress and egress["spec"].get("replicas") == 1
        intents = {
            **{
                key: intent
                for raw in (*raws, *following)
                for key, intent in engine_intent(raw).items()
            },
            **intent_of("Deployment", egress if alone else None),
            **intent_of("Service", service),
            **intent_of("PodDisruptionBudget", budget),
            **intent_of("NetworkPolicy", policy),
        }
        pods = await read_pods(self._client, owner.namespace, f"{LABEL_OWNER_UID}={owner.uid}")
        pods = await explain(self._client, owner.namespace, pods)
        engines = tuple(pod for pod in pods if pod.component == ENGINE)
        egress_pods = tuple(pod for pod in pods if pod.component == EGRESS)
        waits = any(map(is_stuck, pods)) or any(map(lacks_pods, (*raws, *following)))
        counted = self._book.groups(time.monotonic(), at, counting_window(owner.status))
        return DeploymentWorld(
            owner,
            job,
            store,
            await engine_views(self._client, raws),
            engines,
            now,
            await self._scaling(owner, engines),
            f"{holder.namespace}/{holder.name}" if taken and holder else "",
            engine_view(egress) if egress else None,
            egress_pods,
            self._egress.watch(owner, spec, egress_pods),
            await self._placed_nodes(spec),
            adapters,
            await self._reports.adapters(engines) if adapters else {},
            await engine_views(self._client, following),
            tuple(pod for pod in pods if pod.component == WORKER),
            None if counted is None else Evidence(counted),
            unrouted(others).get(owner.uid, ""),
            self._awaited.note((owner.kind, *at), waits=waits),
        ), intents

    async def _child(
        self, api_version: str, kind: str, namespace: str, owner: str, suffix: str
    ) -> Manifest | None:
        return await self._client.get(
            object_path(api_version, kind, namespace, f"{owner}-{suffix}")
        )

    async def key_world(self, owner: Owner) -> tuple[KeyWorld, Intents]:
        """The World of an LLMAccessKey."""
        usage = self._keys.watch(owner)
        samples = self._keys.samples(owner.namespace, owner.name)
        return KeyWorld(owner, datetime.now(UTC), samples, usage), {}

    async def _scaling(self, owner: Owner, pods: tuple[PodView, ...]) -> ScalingView:
        measured = (owner.status.get("scaling") or {}).get("coldStart") or {}
        fresh = to_measure(pods, measured)
        start = await self._reports.engine_start(fresh) if fresh else None
        key = (owner.namespace, owner.name)
        return ScalingView(self._book.decision(key), start, self._book.loads(key))

    def watch_load(self, world: DeploymentWorld, plan: Plan) -> None:
        """Have the policy judge a deployment from now on, if it has replicas to scale."""
        owner = world.owner
        key = (owner.namespace, owner.name)
        spec = parse(LLMDeploymentSpec, owner.spec)
        manual = isinstance(spec, str) or spec.scaling.mode != "Auto" or spec.model is None
        if isinstance(spec, str) or manual or not plan.applies:
            self._book.forget(key)
            return
        status = plan.status or {}
        asked = status["desiredReplicas"]
        now = time.monotonic()
        ages = [world.now - pod.created for pod in world.pods if pod.starts and pod.created]
        serving = [pod for pod in world.pods if pod.serves]
        self._book.watch(
            now,
            key,
            scaling_terms(spec, status["model"]),
            Replicas(
                asked,
                tuple(endpoint(pod) for pod in serving),
                tuple(sorted(now - age.total_seconds() for age in ages)),
            ),
            desired_replicas(spec, asked, world.scaling.decision),
            total_seconds(status["scaling"].get("coldStart") or {}),
        )

    async def _model_references(
        self, owner: Owner, spec: LLMDeploymentSpec, others: list[Reference]
    ) -> tuple[Owner | None, Owner | None]:
        """The training job and the store; `others` are noted as well."""
        key = (owner.kind, owner.namespace, owner.name)
        references = others[:]
        job = None
        store_name = spec.model.store.name if spec.model and spec.model.store else ""
        if spec.model is not None and spec.model.training_job is not None:
            which = spec.model.training_job
            # Without a name: any job of the namespace may become the newest.
            references.append((Kind.TRAINING_JOB, owner.namespace, which.name or ""))
            job = await self._served_job(owner.namespace, which)
            model = (trained_model(job) if job else None) or pinned_model(owner, which)
            store_name = model["store"] if model else ""
        if store_name:
            references.append((Kind.OBJECT_STORE, owner.namespace, store_name))
        self._note(key, references)
        if not store_name:
            return job, None
        return job, await self._referred(Kind.OBJECT_STORE, owner.namespace, store_name)

    async def _served_job(self, namespace: str, which: TrainingJobModel) -> Owner | None:
        if which.name is not None:
            return await self._referred(Kind.TRAINING_JOB, namespace, which.name)
        if which.selector is None:
            return None
        return newest_passing(await self._all(Kind.TRAINING_JOB, namespace), which.selector)

    async def deployments(self) -> tuple[Owner, ...]:
        """All LLMDeployments that this installation serves."""
        return await self._all(Kind.DEPLOYMENT, self._scope.watched_namespace)

    async def _all(self, kind: Kind, namespace: str | None) -> tuple[Owner, ...]:
        items, _ = await self._client.list(object_path(API_VERSION, kind, namespace))
        # Items of a list carry neither kind nor apiVersion.
        return tuple(owner_from({**item, "kind": str(kind)}) for item in items)

    async def routes_world(self) -> tuple[RoutesWorld, Intents]:
        """All deployments with their engines' pods."""
        deployments = await self.deployments()
        labels = f"{LABEL_COMPONENT} in ({ENGINE},{EGRESS}),{LABEL_OWNER_UID}"
        path = object_path("v1", "Pod", self._scope.watched_namespace)
        items, _ = await self._client.list(path, labels=labels)
        pods: dict[tuple[str, str], tuple[PodView, ...]] = {}
        for item in items:
            meta = item["metadata"]
            key = (meta["namespace"], meta["labels"][LABEL_OWNER_UID])
            pods[key] = (*pods.get(key, ()), pod_view(item))
        return RoutesWorld(self._scope.own_namespace, deployments, pods), {}
