"""ObjectStore: a Job in the tenant's namespace provisions and probes the bucket."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from llmcloud.api.base import digest
from llmcloud.api.common import PodSettings, Resources
from llmcloud.api.contract import DeleteStoreTask, ProvisionTask, Task
from llmcloud.api.names import (
    ANNOTATION_REFRESH,
    ANNOTATION_SKIP_CLEANUP,
    FINALIZER,
    Condition,
    Reason,
)
from llmcloud.api.objectstore import ObjectStoreSpec
from llmcloud.plan.attempts import Attempt, State, decide_attempt, next_attempt
from llmcloud.plan.children import JobView, PodView
from llmcloud.plan.conditions import Judgement, build_conditions
from llmcloud.plan.manifests.job import attempt_job
from llmcloud.plan.manifests.pod import Container, attempt_labels, pod_template
from llmcloud.plan.model import Manifest, Notice, Owner, Plan, PodDefaults, parse
from llmcloud.plan.stores import StoreAccess, store_access
from llmcloud.plan.waiting import look_again_seconds

ROLE = "store"
RESOURCES = Resources(cpu="50m", memory="256Mi", ephemeral_storage="256Mi")
CLEANUP_DEADLINE_SECONDS = 600
PROTECTIONS: Final = {
    "encrypted": "encrypted",
    "versioned": "versioned",
    "private": "private",
    "uploadsExpire": "cleared of unfinished uploads",
}
"""What messages call them."""
ENDING_SECONDS = 2.0
"""How soon a pod that is asked to stop is looked at again."""


@dataclass(frozen=True)
class StoreWorld:
    """An ObjectStore, its Jobs, and the pods of these and of Jobs that are gone."""

    owner: Owner
    jobs: tuple[JobView, ...]
    now: datetime
    deletion_time: datetime | None = None
    pods: tuple[PodView, ...] = ()
    crowd: int = 1
    """Objects whose pods are awaited."""


def plan_object_store(world: StoreWorld, defaults: PodDefaults) -> Plan:
    """Provision on creation, on change, at a slow interval, and after failures with backoff."""
    owner = world.owner
    spec = parse(ObjectStoreSpec, owner.spec)
    if isinstance(spec, str):
        judgement = Judgement(False, Reason.SPEC_INVALID, spec, stalled=not owner.deleting)
        held = FINALIZER in owner.finalizers and not owner.deleting
        return Plan(status=_status(world, judgement, {}), finalizer=held)
    if owner.deleting:
        return _plan_deletion(world, spec, defaults)
    access = store_access(owner.name, spec)
    recipe = digest(
        {
            "location": access.location.wire(),
            "create": spec.create,
            "credentials": spec.credentials.wire() if spec.credentials else None,
            "serviceAccountName": spec.service_account_name,
            "refresh": owner.annotations.get(ANNOTATION_REFRESH, ""),
        }
    )
    recorded = owner.status.get("attempt", 0)
    image = defaults.operator_image
    attempt = decide_attempt(world.jobs, recipe, world.now, recorded=recorded, image=image)
    due = _check_due(attempt, world.now, defaults.store_check_seconds)
    if due is not None and due <= 0:
        attempt = next_attempt(attempt, world.jobs, recorded)
    task = ProvisionTask(store=access.location, create=spec.create, owner_uid=owner.uid)
    if owner.status.get("recipe") == recipe and owner.status.get("writable"):
        task = task.model_copy(update={"proven": True})
    return _plan_attempt(world, spec, access, recipe, task, attempt, due, defaults)


def _check_due(attempt: Attempt, now: datetime, interval_seconds: int) -> float | None:
    """Seconds until the next probe of a healthy store; None while anything else goes on."""
    if attempt.state is not State.SUCCEEDED or attempt.job is None or attempt.job.finished is None:
        return None
    return (attempt.job.finished + timedelta(seconds=interval_seconds) - now).total_seconds()


def _plan_attempt(
    world: StoreWorld,
    spec: ObjectStoreSpec,
    access: StoreAccess,
    recipe: str,
    task: Task,
    attempt: Attempt,
    due: float | None,
    defaults: PodDefaults,
) -> Plan:
    owner = world.owner
    applies: tuple[Manifest, ...] = ()
    if attempt.state is State.START:
        applies = (_job(owner, spec, access, recipe, task, attempt, defaults),)
    members: Manifest = {"attempt": attempt.number, "url": access.location.url()}
    requeue = attempt.wait_seconds
    match attempt.state:
        case State.SUCCEEDED:
            assert attempt.outcome is not None
            result = attempt.outcome.provision
            found = result.protections if result is not None else {}
            writable = result is None or result.writable
            use = "used" if writable else "read; its credentials may not write"
            message = f"{members['url']} can be {use}{_unprotected(found, spec.create)}"
            judgement = Judgement(True, Reason.PROVISIONED, message)
            members |= {"provisioned": True, "recipe": recipe, "writable": writable}
            if result is not None:
                known = {k: v for k, v in found.items() if v is not None}
                members |= {"url": result.url, "protections": known}
            requeue = due
        case State.RETRY | State.FAILED:
            assert attempt.problem is not None
            judgement = Judgement(
                False,
                attempt.problem.reason,
                attempt.problem.message,
                stalled=attempt.state is State.FAILED,
                reconciling=attempt.state is State.RETRY,
            )
        case _:
            judgement = _in_progress(owner, recipe, attempt)
            if owner.status.get("recipe") == recipe:
                kept = ("provisioned", "protections", "recipe", "writable")
                members |= {k: owner.status[k] for k in kept if k in owner.status}
            requeue = look_again_seconds(attempt, world.now, world.crowd)
    return Plan(
        applies=applies,
        deletes=tuple(job.ref for job in attempt.obsolete),
        status=_status(world, judgement, members),
        finalizer=_needs_cleanup(spec, owner),
        requeue_seconds=requeue,
    )


def _unprotected(found: Mapping[str, bool | None], create: bool) -> str:
    """What does not hold, and what nobody can tell."""
    off = [words for name, words in PROTECTIONS.items() if found.get(name, True) is False]
    unknown = [words for name, words in PROTECTIONS.items() if found.get(name, True) is None]
    if create and found.get("owned") is False:
        off.append("created by this object")
    said = f"; it is not {', not '.join(off)}" if off else ""
    if unknown:
        said += f"; the store does not tell whether it is {', '.join(unknown)}"
    return said


def _in_progress(owner: Owner, recipe: str, attempt: Attempt) -> Judgement:
    """A probe of a store that was good does not make it bad while it runs."""
    before = owner.condition(Condition.READY)
    if owner.status.get("recipe") == recipe and before.get("status") == "True":
        return Judgement(True, Reason.PROVISIONED, before.get("message", ""))
    if attempt.problem is not None:
        return Judgement(False, attempt.problem.reason, attempt.problem.message, reconciling=True)
    return Judgement(False, Reason.STARTING, "The bucket is being provisioned", reconciling=True)


def _job(
    owner: Owner,
    spec: ObjectStoreSpec,
    access: StoreAccess,
    recipe: str,
    task: Task,
    attempt: Attempt,
    defaults: PodDefaults,
) -> Manifest:
    container = Container(
        "store", defaults.operator_image, ("task",), RESOURCES, task, access.mounts
    )
    template = pod_template(
        defaults,
        PodSettings(service_account_name=spec.service_account_name),
        attempt_labels(owner, ROLE, attempt.number),
        (container,),
        resources=RESOURCES,
        stores=(access,),
    )
    return attempt_job(owner, ROLE, attempt, recipe, template)


def _needs_cleanup(spec: ObjectStoreSpec, owner: Owner) -> bool:
    return spec.reclaim_policy == "Delete" and ANNOTATION_SKIP_CLEANUP not in owner.annotations


def _plan_deletion(world: StoreWorld, spec: ObjectStoreSpec, defaults: PodDefaults) -> Plan:
    """Remove the bucket first, if it is ours to remove; give up after the deadline."""
    owner = world.owner
    if not _needs_cleanup(spec, owner) or FINALIZER not in owner.finalizers:
        # Without our finalizer nothing was created yet, and none may be added any more.
        return Plan(finalizer=False)
    access = store_access(owner.name, spec)
    recipe = digest({"delete": access.location.wire()})
    recorded = max([owner.status.get("attempt", 0), *(pod.attempt for pod in world.pods)])
    attempt = decide_attempt(world.jobs, recipe, world.now, recorded=recorded)
    if attempt.state is State.SUCCEEDED:
        return Plan(finalizer=False)
    since = (world.now - (world.deletion_time or world.now)).total_seconds()
    if since >= CLEANUP_DEADLINE_SECONDS:
        return Plan(finalizer=False, notices=(_left_behind(owner, spec, attempt),))
    task = DeleteStoreTask(store=access.location, owner_uid=owner.uid)
    applies: tuple[Manifest, ...] = ()
    waits = attempt.state is State.START and _provisions(world, recipe)
    if attempt.state is State.START and not waits:
        applies = (_job(owner, spec, access, recipe, task, attempt, defaults),)
    if attempt.problem is not None:
        judgement = Judgement(
            False,
            Reason.CLEANUP_FAILED,
            f"{attempt.problem.message} The object goes in "
            f"{int(CLEANUP_DEADLINE_SECONDS - since)} s at the latest; to let it go now, set the "
            f"annotation {ANNOTATION_SKIP_CLEANUP}.",
            stalled=True,
        )
        before = owner.condition(Condition.READY)
        if before.get("reason") == Reason.CLEANUP_FAILED:  # the seconds in it would count down
            judgement = replace(judgement, message=before["message"])
    else:
        message = f"Removing the bucket {spec.bucket} and what is in it"
        judgement = Judgement(False, Reason.DELETING, message, reconciling=True)
    wait = attempt.wait_seconds or look_again_seconds(attempt, world.now, world.crowd) or 30.0
    return Plan(
        applies=applies,
        deletes=tuple(job.ref for job in attempt.obsolete),
        status=_status(world, judgement, {"attempt": attempt.number - waits}),
        finalizer=True,
        requeue_seconds=min(ENDING_SECONDS if waits else wait, CLEANUP_DEADLINE_SECONDS - since),
    )


def _provisions(world: StoreWorld, recipe: str) -> bool:
    """Whether a pod of another recipe may still make the bucket that is to be removed.

    One whose node does not say that it has ended is waited for until its grace period is over.
    """
    removing = {job.name for job in world.jobs if job.recipe == recipe}
    return any(
        pod.phase in ("Pending", "Running")
        and pod.job not in removing
        and (pod.gone_by is None or pod.gone_by > world.now)
        for pod in world.pods
    )


def _left_behind(owner: Owner, spec: ObjectStoreSpec, attempt: Attempt) -> Notice:
    """What nobody would know: the object goes, and the bucket does not."""
    why = f": {attempt.problem.message}" if attempt.problem else ""
    return Notice(
        True,
        Reason.CLEANUP_FAILED,
        f"ObjectStore {owner.name} goes, but bucket {spec.bucket} and what is in it may be left: "
        f"they could not be removed in {CLEANUP_DEADLINE_SECONDS} s. Remove them by hand{why}",
    )


def _status(world: StoreWorld, judgement: Judgement, members: Manifest) -> Manifest:
    return {
        "observedGeneration": world.owner.generation,
        "provisioned": False,
        **members,
        "conditions": build_conditions(world.owner, world.now, judgement),
    }
