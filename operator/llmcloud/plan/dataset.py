"""LLMDataset: a Job reads the sources and writes a version; status follows its outcome."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from llmcloud.api.base import digest
from llmcloud.api.contract import DatasetTask, ModelInput, Progress
from llmcloud.api.dataset import LLMDatasetSpec, TrainTokenizer
from llmcloud.api.names import ANNOTATION_REFRESH, Reason
from llmcloud.api.objectstore import ObjectStoreSpec
from llmcloud.plan.attempts import Attempt, State, decide_attempt, next_attempt
from llmcloud.plan.children import JobView
from llmcloud.plan.conditions import Judgement, build_conditions
from llmcloud.plan.manifests.job import attempt_job
from llmcloud.plan.manifests.pod import (
    Container,
    attempt_labels,
    pod_template,
    report_port,
    store_mounts,
)
from llmcloud.plan.model import Manifest, Owner, Plan, PodDefaults, parse
from llmcloud.plan.sources import hub_endpoint, network_rules, source_tasks, token_volumes
from llmcloud.plan.stores import Missing, StoreAccess, store_access, usable_store
from llmcloud.plan.tokenizers import tokenizer_model, tokenizer_stores
from llmcloud.plan.versions import (
    IN_USE_SECONDS,
    Versions,
    decide_versions,
    drop_seconds,
    nothing_dropped,
    seconds_until,
)
from llmcloud.plan.waiting import look_again_seconds

ROLE = "data"
PROGRESS_SECONDS = 5.0
BACKOFF_LIMIT = 6
"""So often an attempt may fail of what the user must mend, in about ten minutes, before it is left
to the user to ask for another."""
_RESULT = ("version", "versions", "dropping", "url", "tokenizer", "documents",
           "validationDocuments", "documentsRead", "tokens", "bytes", "shards", "rejected",
           "redacted", "recipe", "attempt")  # fmt: skip


@dataclass(frozen=True)
class DatasetWorld:
    """An LLMDataset, the stores it names (None: missing), its Jobs and what its pod reports.

    `in_use`: versions of jobs that are not final. `trainings`: jobs whose model's tokenizer it
    may take. `crowd`: objects whose pods are awaited.
    """

    owner: Owner
    stores: tuple[tuple[str, Owner | None], ...]
    jobs: tuple[JobView, ...]
    now: datetime
    progress: Progress | None = None
    in_use: frozenset[str] = frozenset()
    trainings: tuple[Owner, ...] = ()
    crowd: int = 1


def dataset_stores(spec: LLMDatasetSpec, trainings: Iterable[Owner] = ()) -> tuple[str, ...]:
    """Names of the stores that a dataset reads or writes. `trainings`: jobs that it refers to."""
    return tuple(
        dict.fromkeys(
            [
                spec.output.store.name,
                *(source.store.name for source in spec.sources if source.store),
                *tokenizer_stores(spec, trainings),
            ]
        )
    )


def version_path(output_path: str, version: str) -> str:
    """Folder of a version, relative to the store's prefix."""
    return f"{output_path}versions/{version.removeprefix('sha256:')}/"


def plan_dataset(world: DatasetWorld, defaults: PodDefaults) -> Plan:
    """Prepare on creation, whenever sources, steps or the refresh annotation change, and at
    intervals; drop versions that are too many."""
    owner = world.owner
    if owner.deleting:
        return Plan()
    spec = parse(LLMDatasetSpec, owner.spec)
    if isinstance(spec, str):
        judgement = Judgement(False, Reason.SPEC_INVALID, spec, stalled=True)
        return Plan(status=_status(world, judgement, _previous(owner)))
    trigger = _trigger(owner, spec)
    attempt = decide_attempt(
        world.jobs,
        trigger,
        world.now,
        recorded=owner.status.get("attempt", 0),
        backoff_limit=BACKOFF_LIMIT,
        image=defaults.data_image,
    )
    if attempt.state is State.START:
        known = owner.status.get("recipe") == trigger and not attempt.retries
        if known and not spec.refresh_seconds:
            judgement = _prepared(owner.status.get("version", ""))
            return Plan(
                deletes=tuple(job.ref for job in attempt.obsolete),
                status=_status(world, judgement, nothing_dropped(_previous(owner))),
            )
        return _plan_start(world, spec, trigger, attempt, defaults)
    return _plan_follow(world, spec, trigger, attempt, defaults)


def recipe_of(spec: LLMDatasetSpec) -> str:
    """Digest of all that decides a version but the bytes of the sources: not where it lies, not
    who makes it, not what opens a source. The same object in another cluster finds what the store
    holds."""
    deciding = {"type", "labels", "sources", "prepare", "tokenizer", "sequence_length"}
    found = spec.model_dump(mode="json", by_alias=True, include=deciding, exclude_none=True)
    model = found["tokenizer"].get("model", {})
    for reference in [*found["sources"], model]:
        reference.get("hub", {}).pop("tokenSecretRef", None)
        if "url" in reference:
            reference["url"] = reference["url"].partition("?")[0]
    return digest(found)


def _trigger(owner: Owner, spec: LLMDatasetSpec) -> str:
    """Digest of what asks for an attempt: another one follows when it changes."""
    keys = [source.url for source in spec.sources if source.url and "?" in source.url]
    return digest(
        {
            **({"urls": keys} if keys else {}),
            "recipe": recipe_of(spec),
            "output": spec.output.wire(),
            "refresh": owner.annotations.get(ANNOTATION_REFRESH, ""),
        }
    )


def _plan_start(
    world: DatasetWorld,
    spec: LLMDatasetSpec,
    trigger: str,
    attempt: Attempt,
    defaults: PodDefaults,
    drop: list[str] | None = None,
) -> Plan:
    owner = world.owner
    stores: dict[str, StoreAccess] = {}
    for name, store in world.stores:
        access = usable_store(name, store)
        if isinstance(access, Missing):
            return _plan_waiting(world, trigger, access)
        stores[name] = access
    model = None if drop else tokenizer_model(spec, world.trainings, stores)
    if isinstance(model, Missing):
        return _plan_waiting(world, trigger, model)
    task = _task(world, spec, attempt, stores, defaults, drop or [], model)
    volumes, token_mounts = token_volumes(spec)
    mounts = (*store_mounts(stores.values()), *token_mounts)
    container = Container(
        "prepare", defaults.data_image, (), spec.resources, task, mounts, extra=report_port()
    )
    template = pod_template(
        defaults,
        spec.pod,
        attempt_labels(owner, ROLE, attempt.number),
        (container,),
        resources=spec.resources,
        stores=tuple(stores.values()),
        volumes=volumes,
    )
    judgement = Judgement(
        False, Reason.STARTING, f"Attempt {attempt.number} starts", reconciling=True
    )
    if owner.status.get("recipe") == trigger:
        judgement = replace(_prepared(owner.status["version"]), reconciling=True)
    return Plan(
        applies=(attempt_job(owner, ROLE, attempt, trigger, template, workers=task.workers),),
        deletes=tuple(job.ref for job in attempt.obsolete),
        status=_status(world, judgement, {**_previous(owner), "attempt": attempt.number}),
    )


def _task(
    world: DatasetWorld,
    spec: LLMDatasetSpec,
    attempt: Attempt,
    stores: Mapping[str, StoreAccess],
    defaults: PodDefaults,
    drop: list[str],
    model: ModelInput | None,
) -> DatasetTask:
    owner = world.owner
    trained = spec.tokenizer.train or TrainTokenizer()
    return DatasetTask(
        owner_uid=owner.uid,
        workers=1 if drop else spec.workers,
        drop=drop,
        current=owner.status.get("version") if drop else None,
        recipe=recipe_of(spec),
        attempt=attempt.number,
        type=spec.type,
        labels=spec.labels or [],
        sources=source_tasks(spec, stores),
        network=network_rules(spec, defaults),
        hub_endpoint=hub_endpoint(spec, defaults),
        prepare=spec.prepare,
        tokenizer_algorithm=trained.algorithm,
        vocabulary_size=trained.vocabulary_size,
        tokenizer_model=model,
        sequence_length_tokens=spec.sequence_length,
        output=stores[spec.output.store.name].location,
        output_path=spec.output.store.path,
    )


def _plan_waiting(world: DatasetWorld, trigger: str, missing: Missing) -> Plan:
    """Something must come first; the version that is there can be used meanwhile."""
    usable = world.owner.status.get("recipe") == trigger
    judgement = Judgement(usable, missing.reason, missing.message, reconciling=True)
    return Plan(status=_status(world, judgement, _previous(world.owner)))


def _plan_follow(
    world: DatasetWorld,
    spec: LLMDatasetSpec,
    trigger: str,
    attempt: Attempt,
    defaults: PodDefaults,
) -> Plan:
    owner = world.owner
    if attempt.state is State.SUCCEEDED:
        return _plan_prepared(world, spec, trigger, attempt, defaults)
    members = {**_previous(owner), "attempt": attempt.number}
    requeue = attempt.wait_seconds
    usable = owner.status.get("recipe") == trigger
    if attempt.state in (State.FAILED, State.RETRY):
        assert attempt.problem is not None
        message = attempt.problem.message
        if attempt.failures > BACKOFF_LIMIT:
            message += (
                f" It has failed {attempt.failures} times: mend the cause, then change the "
                f"annotation {ANNOTATION_REFRESH}."
            )
        if usable:
            message = f"Version {owner.status['version'][:19]} can be used, but: {message}"
        judgement = Judgement(
            usable,
            attempt.problem.reason,
            message,
            stalled=attempt.state is State.FAILED,
            reconciling=attempt.state is State.RETRY,
        )
    else:
        judgement = _in_progress(attempt)
        if usable and attempt.problem is None:
            judgement = replace(_prepared(owner.status["version"]), reconciling=True)
        judgement = replace(judgement, ready=usable)
        requeue = look_again_seconds(attempt, world.now, world.crowd)
        if attempt.state is State.RUNNING:
            requeue = PROGRESS_SECONDS
            members["progress"] = {"percent": _percent(world, attempt.number)}
    return Plan(
        deletes=tuple(job.ref for job in attempt.obsolete),
        status=_status(world, judgement, members),
        requeue_seconds=requeue,
    )


def _plan_prepared(
    world: DatasetWorld,
    spec: LLMDatasetSpec,
    trigger: str,
    attempt: Attempt,
    defaults: PodDefaults,
) -> Plan:
    """A version is there. Versions that are too many are dropped when that has been told, and the
    sources looked at again when it is time."""
    owner = world.owner
    versions = decide_versions(owner, attempt, spec.keep_versions, world.in_use, world.now)
    waits = []
    told = {key: owner.status[key] for key in ("versions", "dropping") if key in owner.status}
    if told == versions.members and owner.status.get("recipe") == trigger:
        again = next_attempt(attempt, world.jobs, owner.status.get("attempt", 0))
        if spec.refresh_seconds:
            waits.append(seconds_until(attempt, world.now, spec.refresh_seconds))
            if waits[-1] <= 0:
                return _plan_start(world, spec, trigger, again, defaults)
        if versions.dropping:
            waits.append(drop_seconds(versions, attempt, world.now))
            if waits[-1] <= 0:
                return _plan_start(world, spec, trigger, again, defaults, versions.dropping)
        elif len(versions.held) > spec.keep_versions:
            waits.append(IN_USE_SECONDS)
    members = {**_previous(owner), "attempt": attempt.number}
    members.pop("dropping", None)
    members |= _result(spec, world, trigger, attempt, versions)
    return Plan(
        deletes=tuple(job.ref for job in attempt.obsolete),
        status=_status(world, _prepared(members["version"]), members),
        requeue_seconds=min(waits, default=None),
    )


def _percent(world: DatasetWorld, attempt: int) -> int:
    """As reported; a report that is late takes nothing back."""
    progress, status = world.progress, world.owner.status
    if progress is not None and progress.attempt == attempt and progress.percent is not None:
        return progress.percent
    if status.get("attempt") != attempt or "progress" not in status:
        return 0
    return int(status["progress"]["percent"])


def _in_progress(attempt: Attempt) -> Judgement:
    if attempt.problem is not None:
        return Judgement(False, attempt.problem.reason, attempt.problem.message, reconciling=True)
    if attempt.state is State.RUNNING:
        return Judgement(
            False, Reason.RUNNING, f"Attempt {attempt.number} prepares a version", reconciling=True
        )
    return Judgement(False, Reason.STARTING, f"Attempt {attempt.number} starts", reconciling=True)


def _result(
    spec: LLMDatasetSpec,
    world: DatasetWorld,
    trigger: str,
    attempt: Attempt,
    versions: Versions,
) -> Manifest:
    assert attempt.outcome is not None
    result = attempt.outcome.dataset
    assert result is not None
    return {
        "version": result.version,
        **versions.members,
        "url": _url(world, spec, result.version),
        "tokenizer": {"digest": result.tokenizer_digest},
        "documents": result.documents,
        "validationDocuments": result.validation_documents,
        **({} if result.documents_read is None else {"documentsRead": result.documents_read}),
        "tokens": result.tokens,
        "bytes": result.bytes,
        "shards": result.shards,
        "rejected": dict(sorted(result.rejected.items())),
        "redacted": dict(sorted(result.redacted.items())),
        "recipe": trigger,
    }


def _url(world: DatasetWorld, spec: LLMDatasetSpec, version: str) -> str:
    """Where the version lies, whatever became of the store since."""
    status, name = world.owner.status, spec.output.store.name
    if status.get("version") == version and status.get("url"):
        return str(status["url"])
    path = version_path(spec.output.store.path, version)
    store = dict(world.stores)[name]
    store_spec = parse(ObjectStoreSpec, store.spec) if store else ""
    if isinstance(store_spec, str):
        return path
    return store_access(name, store_spec).location.url(path)


def _prepared(version: str) -> Judgement:
    return Judgement(True, Reason.PREPARED, f"Version {version[:19]} can be used")


def _previous(owner: Owner) -> Manifest:
    return {key: owner.status[key] for key in _RESULT if key in owner.status}


def _status(world: DatasetWorld, judgement: Judgement, members: Manifest) -> Manifest:
    return {
        "observedGeneration": world.owner.generation,
        **members,
        "conditions": build_conditions(world.owner, world.now, judgement),
    }
