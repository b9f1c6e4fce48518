"""Which trained model is meant: to serve, to train, or to take the tokenizer of."""

from collections.abc import Iterable

from llmcloud.api.model import TrainingJobModel
from llmcloud.api.names import Condition, Reason
from llmcloud.api.selector import LabelSelector
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.model import Manifest, Owner, parse
from llmcloud.plan.stores import Missing


def trained_model(job: Owner) -> Manifest | None:
    """The model of a job that has passed, as a deployment's status pins it."""
    model = job.status.get("model")
    spec = parse(LLMTrainingJobSpec, job.spec)
    complete = job.condition(Condition.COMPLETE).get("status") == "True"
    if not model or not complete or isinstance(spec, str):
        return None
    output = spec.output.store
    return {
        **model,
        "store": output.name,
        "path": output.path,
        "trainingJob": job.name,
        "task": spec.task,
    }


def newest_passing(jobs: Iterable[Owner], selector: LabelSelector) -> Owner | None:
    """Of the jobs that are selected and have passed, the one that did so last."""
    passed = [
        job
        for job in jobs
        if selector.selects(job.raw["metadata"].get("labels") or {}) and trained_model(job)
    ]
    return max(passed, key=_passed_at, default=None)


def matches(reference: TrainingJobModel, job: Owner) -> bool:
    """Whether the reference names or selects the job."""
    if reference.selector is None:
        return job.name == reference.name
    return reference.selector.selects(job.raw["metadata"].get("labels") or {})


def passing(jobs: Iterable[Owner], reference: TrainingJobModel) -> Owner | None:
    """The job that is named, or of those that are selected the newest that has passed."""
    if reference.selector is not None:
        return newest_passing(jobs, reference.selector)
    return next((job for job in jobs if matches(reference, job)), None)


def no_model(job: Owner | None, reference: TrainingJobModel) -> Missing:
    """Why `passing` gives no model."""
    if reference.selector is not None:
        sentence = (
            "No LLMTrainingJob of this namespace that trainingJob.selector selects has passed yet: "
            "wait for one, or create it"
        )
        return Missing(Reason.MODEL_NOT_READY, sentence)
    if job is None:
        sentence = f"LLMTrainingJob {reference.name} does not exist in this namespace: create it"
        return Missing(Reason.TRAINING_JOB_NOT_FOUND, sentence)
    said = job.condition(Condition.READY).get("message") or "it has not started"
    sentence = f"LLMTrainingJob {reference.name} has no model yet: {said}"
    return Missing(Reason.MODEL_NOT_READY, sentence)


def pinned_model(owner: Owner, which: TrainingJobModel) -> Manifest | None:
    """The model that is served already; it outlives the object of the job that made it."""
    pinned = owner.status.get("model") or {}
    named = pinned.get("trainingJob")
    known = named and which.name in (None, named) and pinned.get("store")
    return pinned if known else None


def _passed_at(job: Owner) -> tuple[str, str, str]:
    return job.condition(Condition.COMPLETE).get("lastTransitionTime", ""), job.created, job.name
