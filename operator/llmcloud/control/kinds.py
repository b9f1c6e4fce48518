"""What reconciles which kind: observe, plan, execute."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from llmcloud.api.names import ANNOTATION_INTENT, FINALIZER, Kind, Reason
from llmcloud.cluster.client import Client, manifest_path
from llmcloud.cluster.execute import Intents, apply_children, execute
from llmcloud.cluster.observe import Observer
from llmcloud.cluster.recorder import Recorder
from llmcloud.control.queue import Key
from llmcloud.control.training_metrics import TrainingMetrics
from llmcloud.plan.accesskey import plan_access_key
from llmcloud.plan.conditions import Judgement, build_conditions
from llmcloud.plan.dataset import plan_dataset
from llmcloud.plan.deployment import plan_deployment
from llmcloud.plan.deployment_world import DeploymentWorld
from llmcloud.plan.ended import is_final
from llmcloud.plan.model import Owner, Plan, PodDefaults
from llmcloud.plan.objectstore import plan_object_store
from llmcloud.plan.routes import RoutesWorld, plan_routes, unrouted, valid
from llmcloud.plan.training import plan_training

ROUTES: Final = "Routes"
NAMESPACE_GOES: Final = "because it is being terminated"
"""The API server's words when it refuses to create anything in a namespace."""

ObserveKind = Callable[[Owner], Awaitable[tuple[Any, Intents]]]
PlanKind = Callable[[Any, PodDefaults], Plan]


@dataclass
class Reconciler:
    """Reconciles any key; remembers only which resource versions it wrote itself."""

    client: Client
    observer: Observer
    recorder: Recorder
    defaults: PodDefaults
    wrote: Callable[[Key, str], None]
    applied: Callable[[Key, str], None]
    trainings: TrainingMetrics
    wake: Callable[[Key], None]

    def __post_init__(self) -> None:
        self._unrouted: frozenset[Key] = frozenset()
        self._table: dict[Kind, tuple[ObserveKind, PlanKind]] = {
            Kind.OBJECT_STORE: (self.observer.store_world, plan_object_store),
            Kind.DATASET: (self.observer.dataset_world, plan_dataset),
            Kind.TRAINING_JOB: (self.observer.training_world, plan_training),
            Kind.DEPLOYMENT: (self.observer.deployment_world, plan_deployment),
            Kind.ACCESS_KEY: (self.observer.key_world, plan_access_key),
        }

    async def reconcile(self, key: Key) -> float | None:
        """One look and what follows from it; the seconds until the next look."""
        if key.kind == ROUTES:
            return await self._reconcile_routes()
        kind = Kind(key.kind)
        owner = await self.observer.owner(kind, key.namespace, key.name)
        if owner is None:
            self.observer.forget(key.kind, key.namespace, key.name)
            if kind is Kind.TRAINING_JOB:
                self.trainings.forget(key.namespace, key.name)
            return None
        observe, plan = self._table[kind]
        world, intents = await observe(owner)
        planned = plan(world, self.defaults)
        if isinstance(world, DeploymentWorld):
            self.observer.watch_load(world, planned)
        version = await execute(
            self.client, self.recorder, owner, planned, intents, partial(self.applied, key)
        )
        if version:
            self.wrote(key, version)
        if kind is Kind.TRAINING_JOB and planned.status is not None:
            self.trainings.record(owner, planned.status)
        return planned.requeue_seconds

    async def _reconcile_routes(self) -> float | None:
        world, _ = await self.observer.routes_world()
        self._wake_unrouted(world)
        plan = plan_routes(world)
        (manifest,) = plan.applies
        existing = await self.client.get(manifest_path(manifest)) or {}
        annotations = existing.get("metadata", {}).get("annotations") or {}
        name = manifest["metadata"]["name"]
        intents = {("ConfigMap", name): annotations.get(ANNOTATION_INTENT, "")}
        await apply_children(self.client, plan, intents)
        return plan.requeue_seconds

    def _wake_unrouted(self, world: RoutesWorld) -> None:
        """Have those say so that lost their room in the table, or got one: by others' changes."""
        without = unrouted(valid(world.deployments))
        owners = (owner for owner in world.deployments if owner.uid in without)
        now = frozenset(Key(Kind.DEPLOYMENT, owner.namespace, owner.name) for owner in owners)
        for key in now ^ self._unrouted:
            self.wake(key)
        self._unrouted = now

    async def excuse(self, key: Key, reason: str, message: str) -> None:
        """Say in the status why the object could not be reconciled."""
        if key.kind == ROUTES:
            return
        owner = await self.observer.owner(Kind(key.kind), key.namespace, key.name)
        if owner is None or is_final(owner):
            return
        if owner.deleting:
            # In a namespace that goes, no cleanup can be started: the bucket stays.
            if NAMESPACE_GOES in message:
                await execute(self.client, self.recorder, owner, Plan(finalizer=False), {})
            return
        stalled = reason == Reason.INTERNAL_ERROR
        judgement = Judgement(
            False, Reason(reason), message, stalled=stalled, reconciling=not stalled
        )
        status = {
            **owner.status,
            "observedGeneration": owner.generation,
            "conditions": build_conditions(owner, datetime.now(UTC), judgement),
        }
        version = await execute(
            self.client,
            self.recorder,
            owner,
            Plan(status=status, finalizer=FINALIZER in owner.finalizers),
            {},
        )
        if version:
            self.wrote(key, version)
