"""LLMTrainingJob: wait for inputs, run numbered attempts, keep what they report, end once.

Complete and Failed are final: the specification is immutable, so after them the pods go, and
nothing else is planned.
"""

from dataclasses import replace

from llmcloud.api.base import digest
from llmcloud.api.contract import TrainingResult
from llmcloud.api.names import Condition, Reason
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan import group
from llmcloud.plan.attempts import Attempt, State, decide_attempt
from llmcloud.plan.avoidance import start_sentence
from llmcloud.plan.budget import goodput, is_spent, watched
from llmcloud.plan.conditions import Judgement, build_conditions
from llmcloud.plan.elastic import is_stopping, relocated, room_of, scheduling_of, stale_room
from llmcloud.plan.ended import is_final, plan_ended
from llmcloud.plan.extra import extra_refusal
from llmcloud.plan.fitting import memory_refusal
from llmcloud.plan.goodput import last_durable, last_told, spent_before
from llmcloud.plan.inputs import Inputs, resolve
from llmcloud.plan.manifests.trainer import meeting_service, training_job
from llmcloud.plan.model import Manifest, ObjectRef, Owner, Plan, PodDefaults, parse
from llmcloud.plan.queueing import is_evicted, queue_sentence
from llmcloud.plan.stores import Missing
from llmcloud.plan.training_world import TrainingWorld, as_loaded
from llmcloud.plan.waiting import look_again_seconds

PROGRESS_SECONDS = 5.0
NODES_SECONDS = 60.0
"""A new node wakes nobody: it is looked for at this interval."""
_KEPT = (
    "attempt",
    "failures",
    "inputs",
    "progress",
    "checkpoint",
    "evaluation",
    "goodput",
    "model",
)


def plan_training(world: TrainingWorld, defaults: PodDefaults) -> Plan:
    """One attempt at a time, fenced in the store, until it succeeds or cannot."""
    owner = world.owner
    if owner.deleting:
        return Plan()
    if is_final(owner):
        return plan_ended(world)
    spec = parse(LLMTrainingJobSpec, owner.spec)
    if isinstance(spec, str):
        judgement = Judgement(False, Reason.SPEC_INVALID, spec, stalled=True)
        return Plan(status=_status(world, judgement, "Pending", _kept(owner)))
    return watched(_plan(world, spec, defaults), world, spec)


def _plan(world: TrainingWorld, spec: LLMTrainingJobSpec, defaults: PodDefaults) -> Plan:
    attempt = decide_attempt(
        world.jobs,
        # The specification and the inputs are immutable: what was begun is gone on with, also by
        # an operator that digests them in another way.
        world.jobs[-1].recipe if world.jobs else "",
        world.now,
        recorded=world.recorded,
        recorded_failures=world.owner.status.get("failures", 0),
        backoff_limit=spec.backoff_limit,
        image=defaults.runtime_image,
        durable=last_durable(world),
    )
    ended = attempt.state in (State.SUCCEEDED, State.FAILED)
    if not ended and (spec.suspend or is_spent(world, spec)):
        return _plan_suspension(world, spec, attempt.failures)
    refusal = group.size_refusal(spec) or memory_refusal(spec) or extra_refusal(spec)
    if refusal is not None and not ended:
        return _plan_wait(world, spec, refusal, None)
    attempt, wait_seconds = relocated(world, spec, attempt)
    if attempt.state is State.START:
        return _plan_start(world, spec, attempt, defaults)
    job = attempt.job
    runs = attempt.state is State.RUNNING
    if job and (is_evicted(world, job) or (runs and group.outgrown(spec, job, world.room))):
        return _plan_stop(world, spec, attempt.number, (job.ref,))
    return _plan_follow(world, spec, attempt, wait_seconds, defaults)


def _plan_stop(
    world: TrainingWorld, spec: LLMTrainingJobSpec, number: int, deletes: tuple[ObjectRef, ...]
) -> Plan:
    """Pods of an attempt save a checkpoint and go before the next attempt starts."""
    message = f"The pods of attempt {number} save a checkpoint and stop; another attempt follows"
    judgement = Judgement(False, Reason.STARTING, message, reconciling=True)
    members = _told(world, spec) | {"attempt": number}
    status = _status(world, judgement, "Starting", members)
    return Plan(deletes=deletes, status=status, requeue_seconds=PROGRESS_SECONDS)


def _recipe(spec: LLMTrainingJobSpec, inputs: Inputs) -> str:
    """Digest of all that decides the result; where and with what resources it runs does not."""
    deciding = {"model", "task", "method", "hyperparameters", "evaluation", "lora", "distill",
                "prompt_tuning"}  # fmt: skip
    wire = spec.model_dump(mode="json", by_alias=True, include=deciding, exclude_none=True)
    parts: Manifest = {"spec": wire}
    learned = [dataset.input for dataset in inputs.datasets]
    if len(learned) == 1 and learned[0].weight == 1:
        parts["dataset"] = learned[0].version
    elif learned:
        parts["datasets"] = [{"version": one.version, "weight": one.weight} for one in learned]
    if inputs.evaluation is not None:
        parts["evaluation"] = inputs.evaluation.input.version
    for role, model in (("model", inputs.model), ("teacher", inputs.teacher)):
        if model is not None and model.pin is not None:
            parts[role] = model.pin.digest or model.pin.url
    return digest(parts)


def _plan_start(
    world: TrainingWorld, spec: LLMTrainingJobSpec, attempt: Attempt, defaults: PodDefaults
) -> Plan:
    owner = world.owner
    if not attempt.obsolete and is_stopping(world):
        return _plan_stop(world, spec, world.recorded, ())
    obsolete = (*(job.ref for job in attempt.obsolete), *stale_room(world, None))
    inputs = resolve(world, spec)
    if isinstance(inputs, Missing):
        return _plan_wait(world, spec, inputs, None)
    scheduling = scheduling_of(world, spec, attempt, defaults)
    if isinstance(scheduling, Missing):
        return _plan_wait(world, spec, scheduling, NODES_SECONDS)
    scheduling = replace(scheduling, avoided=attempt.avoided)
    recipe = world.jobs[-1].recipe if world.jobs else _recipe(spec, inputs)
    spent = spent_before(world, spec, attempt)
    job = training_job(owner, spec, inputs, recipe, attempt, scheduling, defaults, spent)
    starts = start_sentence(attempt.number, attempt.avoided)
    judgement = Judgement(False, Reason.STARTING, starts, reconciling=True)
    members = _told(world, spec) | {
        "attempt": attempt.number,
        "failures": attempt.failures,
        "inputs": as_loaded(inputs.pins, world, None) | {"image": defaults.runtime_image},
    }
    return Plan(
        applies=(meeting_service(owner), job) if attempt.nodes > 1 else (job,),
        deletes=obsolete,
        status=_status(world, judgement, "Starting", members),
    )


def _plan_wait(
    world: TrainingWorld,
    spec: LLMTrainingJobSpec,
    missing: Missing,
    requeue_seconds: float | None,
) -> Plan:
    judgement = Judgement(
        False,
        missing.reason,
        missing.message,
        stalled=missing.stalled,
        reconciling=not missing.stalled,
    )
    status = _status(world, judgement, "Pending", _told(world, spec))
    return Plan(status=status, requeue_seconds=requeue_seconds)


def _plan_follow(
    world: TrainingWorld,
    spec: LLMTrainingJobSpec,
    attempt: Attempt,
    wait_seconds: float | None,
    defaults: PodDefaults,
) -> Plan:
    assert attempt.job is not None
    loaded = as_loaded(attempt.job.inputs, world, last_told(world, attempt.number))
    members = _told(world, spec) | {
        "attempt": attempt.number,
        "failures": attempt.failures,
        "inputs": loaded | {"image": attempt.job.image},
    }
    if attempt.state is not State.WAITING:
        members |= _live(world, attempt.number)
    obsolete = (*(job.ref for job in attempt.obsolete), *stale_room(world, None))
    match attempt.state:
        case State.SUCCEEDED:
            status = _succeeded(world, attempt, members)
            return Plan(deletes=obsolete, status=status, requeue_seconds=spec.pods_ttl_seconds)
        case State.FAILED:
            status = _failed(world, attempt, members)
            return Plan(deletes=obsolete, status=status, requeue_seconds=spec.pods_ttl_seconds)
        case State.RETRY:
            assert attempt.problem is not None
            judgement = Judgement(
                False, attempt.problem.reason, attempt.problem.message, reconciling=True
            )
            status = _status(world, judgement, "Pending", members)
            return Plan(deletes=obsolete, status=status, requeue_seconds=attempt.wait_seconds)
        case _:
            plan = _plan_running(world, attempt, members)
    if wait_seconds is not None:
        soonest = min(plan.requeue_seconds or wait_seconds, wait_seconds)
        plan = replace(plan, requeue_seconds=soonest)
    if attempt.state is State.RUNNING and plan.status and plan.status["phase"] == "Running":
        plan = replace(plan, applies=room_of(world, spec, attempt, defaults))
    return plan


def _plan_running(world: TrainingWorld, attempt: Attempt, members: Manifest) -> Plan:
    starts = start_sentence(attempt.number, attempt.avoided)
    judgement = Judgement(False, Reason.STARTING, starts, reconciling=True)
    phase = "Starting"
    requeue = look_again_seconds(attempt, world.now, world.crowd)
    if attempt.problem is not None:
        judgement = Judgement(
            False, attempt.problem.reason, attempt.problem.message, reconciling=True
        )
        phase = "Pending"
    elif attempt.job is not None and attempt.job.queued:
        phase = "Queued"
        judgement = Judgement(False, Reason.QUEUED, queue_sentence(attempt.job), reconciling=True)
    elif attempt.state is State.RUNNING:
        requeue = PROGRESS_SECONDS
        phase = _live_phase(world, attempt.number)
        if phase != "Starting":
            sentence = _sentence(world, attempt.number, phase)
            judgement = Judgement(False, Reason(phase), sentence, reconciling=True)
    keeps = attempt.number if phase == "Running" else None
    return Plan(
        deletes=(*(job.ref for job in attempt.obsolete), *stale_room(world, keeps)),
        status=_status(world, judgement, phase, members),
        requeue_seconds=requeue,
    )


def _live_phase(world: TrainingWorld, attempt: int) -> str:
    """As reported; a report that is late takes nothing back."""
    if world.progress is not None and world.progress.attempt == attempt:
        return world.progress.phase
    status = world.owner.status
    before = status.get("phase") if status.get("attempt") == attempt else None
    return before if before in ("Running", "Evaluating") else "Starting"


def _sentence(world: TrainingWorld, attempt: int, phase: str) -> str:
    """What runs, and what the pod has to say about it; a report that is late takes nothing back."""
    sentence, progress = f"Attempt {attempt} is {phase.lower()}", world.progress
    if progress is not None and progress.attempt == attempt:
        return f"{sentence}. {progress.note}" if progress.note else sentence
    before = world.owner.condition(Condition.READY)
    same = before.get("reason") == phase and world.owner.status.get("attempt") == attempt
    return before["message"] if same else sentence


def _live(world: TrainingWorld, attempt: int) -> Manifest:
    """What the attempt's pod tells; an older attempt's pod may still be there and is ignored."""
    progress = last_told(world, attempt)
    if progress is None:
        return {}
    wire = progress.wire()
    members: Manifest = {}
    if progress.step is not None and progress.total_steps is not None:
        names = ("step", "totalSteps", "percent", "etaSeconds", "loss", "learningRate",
                 "tokensPerSecond", "tokensSeen")  # fmt: skip
        members["progress"] = {name: wire[name] for name in names if name in wire}
    if progress.checkpoint is not None:
        members["checkpoint"] = progress.checkpoint.wire()
    return members


def _succeeded(world: TrainingWorld, attempt: Attempt, members: Manifest) -> Manifest:
    assert attempt.outcome is not None
    result = attempt.outcome.training
    assert result is not None
    members |= _result(result)
    progress = dict(members.get("progress") or {})
    progress |= {"step": result.steps, "totalSteps": result.steps, "percent": 100}
    progress.pop("etaSeconds", None)
    members["progress"] = progress
    if not result.passed:
        missed = ", ".join(f"{m.name} {m.value:g}" for m in result.metrics if not m.passed)
        judgement = Judgement(
            False,
            Reason.GATE_NOT_PASSED,
            f"The model is trained, but does not pass its gate: {missed}. It stays in the store; "
            "a job with other hyperparameters or bounds is a new object.",
            stalled=True,
        )
        return _status(world, judgement, "Failed", members, failed=True)
    what = "report" if result.model_kind == "report" else "model"
    judgement = Judgement(True, Reason.SUCCEEDED, f"The {what} is at {result.model_url}")
    return _status(world, judgement, "Succeeded", members, complete=True)


def _result(result: TrainingResult) -> Manifest:
    members: Manifest = {
        "model": {
            "url": result.model_url,
            "path": result.model_path,
            "digest": result.model_digest,
            "kind": result.model_kind,
        },
    }
    if result.tokenizer_digest is not None:
        members["model"]["tokenizerDigest"] = result.tokenizer_digest
    if result.model_kind == "report":
        del members["model"]
    if result.metrics:
        members["evaluation"] = {
            "passed": result.passed,
            "metrics": [metric.wire() for metric in result.metrics],
            "baselines": [metric.wire() for metric in result.baselines],
        }
    if result.groups:
        members["evaluation"]["groups"] = [group.wire() for group in result.groups]
    if result.checkpoint is not None:
        members["checkpoint"] = result.checkpoint.wire()
    return members


def _failed(world: TrainingWorld, attempt: Attempt, members: Manifest) -> Manifest:
    problem = attempt.problem
    assert problem is not None
    limit = world.owner.spec.get("backoffLimit", 3)
    if attempt.failures > limit:
        judgement = Judgement(
            False,
            Reason.BACKOFF_LIMIT_EXCEEDED,
            f"{attempt.failures} failures are more than spec.backoffLimit {limit} allows. The "
            f"last: {problem.reason}: {problem.message}",
            stalled=True,
        )
    else:
        judgement = Judgement(False, problem.reason, problem.message, stalled=True)
    return _status(world, judgement, "Failed", members, failed=True)


def _plan_suspension(world: TrainingWorld, spec: LLMTrainingJobSpec, failures: int) -> Plan:
    """Delete the Job; its pods checkpoint within their grace period. Resuming is a new attempt."""
    recorded = world.owner.status.get("attempt", 0)
    number = max([recorded, *(job.attempt for job in world.jobs)])
    members = _told(world, spec) | {"attempt": number, "failures": failures}
    members |= _live(world, number)
    # One that has ended is left: it tells of its failure until the status does.
    deletes = tuple(job.ref for job in world.jobs if job.active and not job.deleting)
    deletes += stale_room(world, None)
    reason, why = Reason.SUSPENDED, "spec.suspend; set it to false to go on"
    if not spec.suspend and spec.budget is not None:
        reason = Reason.BUDGET_SPENT
        hours = spec.budget.accelerator_hours
        why = f"spec.budget.acceleratorHours {hours:g}, which are spent; raise it to go on"
    if any(pod.phase in ("Pending", "Running") for pod in world.pods):
        message = f"The pods write a checkpoint and stop, by {why}"
        judgement = Judgement(False, reason, message, reconciling=True)
        status = _status(world, judgement, "Suspended", members)
        return Plan(deletes=deletes, status=status, requeue_seconds=PROGRESS_SECONDS)
    stalled = reason is Reason.BUDGET_SPENT
    judgement = Judgement(False, reason, f"Suspended by {why}", stalled=stalled)
    status = _status(world, judgement, "Suspended", members, suspended=True)
    return Plan(deletes=deletes, status=status)


def _told(world: TrainingWorld, spec: LLMTrainingJobSpec) -> Manifest:
    """What stays of the status, and what of it is known better now."""
    return _kept(world.owner) | goodput(world, spec)


def _kept(owner: Owner) -> Manifest:
    return {key: owner.status[key] for key in _KEPT if key in owner.status}


def _status(
    world: TrainingWorld,
    judgement: Judgement,
    phase: str,
    members: Manifest,
    *,
    complete: bool = False,
    failed: bool = False,
    suspended: bool = False,
) -> Manifest:
    return {
        "observedGeneration": world.owner.generation,
        "phase": phase,
        **members,
        "conditions": build_conditions(
            world.owner,
            world.now,
            judgement,
            complete=complete,
            failed=failed,
            suspended=suspended,
        ),
    }
