"""Models of the Hugging Face hub, or of the mirror that HF_ENDPOINT names."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llmcloud.api.contract import FileEntry, HubInput, Retry
from llmcloud.cloud.errors import ConfigurationInvalid, StoreUnreachable
from llmcloud.cloud.manifest import sha256_of

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Files that cannot hold code."""
UNWANTED = ("*/*",)
"""Below the folder are the same weights for other programs (original/, onnx/)."""


def download(model: HubInput, folder: Path) -> tuple[str, list[FileEntry]]:
    """Lay the model's files down in `folder`; the commit of its revision, and the files.

    Raises ConfigurationInvalid if there is no such model for us, StoreUnreachable.
    """
    token = Path(model.token_file).read_text().strip() if model.token_file else False
    try:
        api = HfApi(token=token)
        commit = api.model_info(model.name, revision=model.revision).sha
        snapshot_download(
            model.name,
            revision=commit,
            local_dir=folder,
            token=token,
            allow_patterns=list(WANTED),
            ignore_patterns=list(UNWANTED),
        )
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ConfigurationInvalid(
            f"The hub has no model {model.name} with the revision {model.revision} for us; correct "
            "spec.model.hub, or name a token with access in tokenSecretRef."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise StoreUnreachable(
            f"The hub does not give the model {model.name} ({type(error).__name__}); check the "
            "chart's hubMirror and proxy.",
            retry=Retry.ENVIRONMENT,
        ) from error
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return str(commit), [
        FileEntry(
            key=file.relative_to(folder).as_posix(),
            bytes=file.stat().st_size,
            sha256=sha256_of(file),
        )
        for file in files
        if ".cache" not in file.relative_to(folder).parts
    ]
