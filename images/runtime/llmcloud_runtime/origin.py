"""Where a model comes from, and that it is the same one in every attempt.

The hub's branches move and folders are overwritten: what the first attempt found is written below
the output path, conditionally, so that ranks and attempts agree whoever is first.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from llmcloud.api.base import ApiModel
from llmcloud.api.contract import FetchTask, ModelInput, TrainingTask
from llmcloud.cloud.base import open_store
from llmcloud.cloud.errors import ConfigurationInvalid, DigestMismatch, ObjectNotFound
from llmcloud.cloud.fetch import COMPLETE, fetch
from llmcloud.cloud.manifest import files_digest, publish_manifest, read_manifest
from llmcloud_runtime.hub import download


@dataclass(frozen=True)
class Source:
    """A model on local disk: its folder, where it came from, and the digest of its files.

    `commit`: of the hub's repository.
    """

    folder: Path
    url: str
    digest: str
    commit: str | None = None


class Pin(ApiModel):
    """`<output.path>inputs/<recipe>/<role>.json`: which model the first attempt found."""

    url: str
    digest: str
    commit: str | None = None


def fetch_pinned(task: TrainingTask, role: str, model: ModelInput, folder: Path) -> Source | None:
    """The model's files on local disk, of the job's first attempt; None for one from scratch.

    Raises DigestMismatch if that model is not there any more, and as `fetch_model` does.
    """
    known = model.stored is not None and model.stored.digest is not None
    if known or model.architecture is not None:
        return fetch_model(model, folder)
    store = open_store(task.output)
    path = f"{task.output_path}inputs/{task.recipe.removeprefix('sha256:')}/{role}.json"
    pin = read_manifest(store, path, Pin)
    if pin is None:
        found = fetch_model(model, folder)
        assert found is not None
        mine = Pin(url=found.url, digest=found.digest, commit=found.commit)
        pin = publish_manifest(store, path, mine)
        if pin == mine:
            return found
        shutil.rmtree(folder)
    try:
        return fetch_model(_at(model, pin), folder)
    except (ConfigurationInvalid, DigestMismatch, ObjectNotFound) as error:
        raise DigestMismatch(
            f"This job began with the {role} {pin.url} ({pin.digest}), which is not there any "
            f"more: {error} Restore it, or make a new job with another spec.output.store.path."
        ) from error


def _at(model: ModelInput, pin: Pin) -> ModelInput:
    """The pinned one. A commit says all, and which of its files are taken may change."""
    if model.hub is not None:
        return ModelInput(hub=model.hub.model_copy(update={"revision": pin.commit}))
    assert model.stored is not None
    return ModelInput(stored=model.stored.model_copy(update={"digest": pin.digest}))


def fetch_model(model: ModelInput, folder: Path) -> Source | None:
    """The model's files on local disk; None for one from scratch.

    Raises ConfigurationInvalid where it may hold code, ObjectNotFound, DigestMismatch.
    """
    commit = None
    if model.stored is not None:
        stored = model.stored
        fetch(
            FetchTask(
                store=stored.store,
                path=stored.path,
                digest=stored.digest,
                destination=str(folder),
            )
        )
        url, digest = stored.store.url(stored.path), (folder / COMPLETE).read_text()
    elif model.hub is not None:
        commit, files = download(model.hub, folder)
        url, digest = f"hf://{model.hub.name}@{commit}", files_digest(files)
    else:
        return None
    if not (folder / "config.json").exists():
        what = "an adapter" if (folder / "adapter_config.json").exists() else "no model"
        raise ConfigurationInvalid(
            f"{url} is {what}; name a whole model, or train that job again with spec.lora.merge."
        )
    return Source(folder, url, digest, commit)
