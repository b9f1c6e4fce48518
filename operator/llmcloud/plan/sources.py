"""The sources of a dataset as its pod is told of them, and the Secrets that it mounts for them."""

from collections.abc import Mapping

from llmcloud.api.contract import HUB_PATH, HubSource, NetworkRules, SourceTask, UrlSource
from llmcloud.api.dataset import Fields, LLMDatasetSpec, Source
from llmcloud.api.model import HubModel
from llmcloud.api.source import HubDataset
from llmcloud.plan.model import Manifest, PodDefaults
from llmcloud.plan.stores import StoreAccess

TOKEN = "token"
TOKENIZER = "tokenizer"
"""Place of the token for the model whose tokenizer is taken."""


def source_tasks(spec: LLMDatasetSpec, stores: Mapping[str, StoreAccess]) -> list[SourceTask]:
    return [
        SourceTask(
            store=stores[source.store.name].location if source.store else None,
            path=source.store.path if source.store else "",
            url=UrlSource(url=source.url, sha256=source.sha256 or "") if source.url else None,
            hub=_hub(source, number),
            format=source.format,
            members=(source.fields or Fields()).members(spec.type),
            include=source.include,
        )
        for number, source in enumerate(spec.sources)
    ]


def network_rules(spec: LLMDatasetSpec, defaults: PodDefaults) -> NetworkRules | None:
    """What the pod may reach of the web; None if nothing that it reads is of it."""
    if all(source.store for source in spec.sources) and model_of_hub(spec) is None:
        return None
    return NetworkRules(
        allowed=list(defaults.allowed_networks), refused=list(defaults.refused_networks)
    )


def hub_endpoint(spec: LLMDatasetSpec, defaults: PodDefaults) -> str | None:
    """The mirror of the hub, if there is one and it is needed."""
    needed = model_of_hub(spec) or any(source.hub for source in spec.sources)
    return dict(defaults.env).get("HF_ENDPOINT") if needed else None


def token_volumes(spec: LLMDatasetSpec) -> tuple[tuple[Manifest, ...], tuple[Manifest, ...]]:
    """Volumes and mounts of the hub's tokens."""
    volumes, mounts = [], []
    wanted: dict[str, HubDataset | HubModel | None] = {
        str(number): source.hub for number, source in enumerate(spec.sources)
    }
    wanted[TOKENIZER] = model_of_hub(spec)
    for place, hub in wanted.items():
        if hub is None or hub.token_secret_ref is None:
            continue
        reference, name = hub.token_secret_ref, f"hub-{place}"
        items = [{"key": reference.key, "path": TOKEN}]
        secret = {"secretName": reference.name, "items": items, "defaultMode": 0o440}
        volumes.append({"name": name, "secret": secret})
        mounts.append({"name": name, "mountPath": f"{HUB_PATH}/{place}", "readOnly": True})
    return tuple(volumes), tuple(mounts)


def model_of_hub(spec: LLMDatasetSpec) -> HubModel | None:
    """The model of the hub whose tokenizer is taken."""
    return spec.tokenizer.model.hub if spec.tokenizer.model else None


def _hub(source: Source, number: int) -> HubSource | None:
    hub = source.hub
    if hub is None:
        return None
    return HubSource(
        name=hub.name,
        config=hub.config,
        split=hub.split,
        revision=hub.revision,
        token_file=f"{HUB_PATH}/{number}/{TOKEN}" if hub.token_secret_ref else None,
    )
