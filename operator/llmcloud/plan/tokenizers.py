"""The tokenizer that a dataset takes from a model: which model, and how the pod reaches it."""

from collections.abc import Iterable, Mapping

from llmcloud.api.contract import HUB_PATH, HubInput, ModelInput, StoredModel
from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.model import TrainingJobModel
from llmcloud.plan.model import Owner
from llmcloud.plan.served_model import no_model, passing, trained_model
from llmcloud.plan.sources import TOKEN, TOKENIZER
from llmcloud.plan.stores import Missing, StoreAccess


def tokenizer_jobs(spec: LLMDatasetSpec) -> tuple[TrainingJobModel, ...]:
    """The job whose model's tokenizer is taken."""
    job = spec.tokenizer.model.training_job if spec.tokenizer.model else None
    return () if job is None else (job,)


def tokenizer_stores(spec: LLMDatasetSpec, trainings: Iterable[Owner]) -> tuple[str, ...]:
    """Names of the stores that hold the model, as far as they are known."""
    model = spec.tokenizer.model
    if model is not None and model.store is not None:
        return (model.store.name,)
    jobs = (passing(trainings, reference) for reference in tokenizer_jobs(spec))
    return tuple(job.spec["output"]["store"]["name"] for job in jobs if job is not None)


def tokenizer_model(
    spec: LLMDatasetSpec, trainings: Iterable[Owner], stores: Mapping[str, StoreAccess]
) -> ModelInput | Missing | None:
    """The model whose tokenizer is taken; None where one is trained. `stores` are usable ones."""
    model = spec.tokenizer.model
    if model is None:
        return None
    if model.hub is not None:
        file = f"{HUB_PATH}/{TOKENIZER}/{TOKEN}" if model.hub.token_secret_ref else None
        hub = HubInput(name=model.hub.name, revision=model.hub.revision, token_file=file)
        return ModelInput(hub=hub)
    if model.store is not None:
        location = stores[model.store.name].location
        return ModelInput(stored=StoredModel(store=location, path=model.store.path))
    assert model.training_job is not None, "admission: exactly one member is set"
    job = passing(trainings, model.training_job)
    trained = trained_model(job) if job else None
    if trained is None:
        return no_model(job, model.training_job)
    return ModelInput(
        stored=StoredModel(
            store=stores[trained["store"]].location,
            path=trained["path"],
            digest=trained.get("digest"),
            tokenizer_digest=trained.get("tokenizerDigest"),
        )
    )
