"""Which trained model a deployment serves."""

from collections.abc import Iterable

from llmcloud.api.model import TrainingJobModel
from llmcloud.api.names import Condition
from llmcloud.api.selector import LabelSelector
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.model import Manifest, Owner, parse


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


def pinned_model(owner: Owner, which: TrainingJobModel) -> Manifest | None:
    """The model that is served already; it outlives the object of the job that made it."""
    pinned = owner.status.get("model") or {}
    named = pinned.get("trainingJob")
    known = named and which.name in (None, named) and pinned.get("store")
    return pinned if known else None


def _passed_at(job: Owner) -> tuple[str, str, str]:
    return job.condition(Condition.COMPLETE).get("lastTransitionTime", ""), job.created, job.name
