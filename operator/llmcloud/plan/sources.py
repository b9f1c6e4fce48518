"""The sources of a dataset as its pod is told of them, and the Secrets that it mounts for them."""

from collections.abc import Mapping

from llmcloud.api.contract import HUB_PATH, HubSource, NetworkRules, SourceTask, UrlSource
from llmcloud.api.dataset import Fields, LLMDatasetSpec, Source
from llmcloud.plan.model import Manifest, PodDefaults
from llmcloud.plan.stores import StoreAccess

TOKEN = "token"


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
    """What the pod may reach of the web; None if no source is of it."""
    if all(source.store for source in spec.sources):
        return None
    return NetworkRules(
        allowed=list(defaults.allowed_networks), refused=list(defaults.refused_networks)
    )


def hub_endpoint(spec: LLMDatasetSpec, defaults: PodDefaults) -> str | None:
    """The mirror of the hub, if there is one and a source needs it."""
    needed = any(source.hub for source in spec.sources)
    return dict(defaults.env).get("HF_ENDPOINT") if needed else None


def token_volumes(spec: LLMDatasetSpec) -> tuple[tuple[Manifest, ...], tuple[Manifest, ...]]:
    """Volumes and mounts of the hub's tokens."""
    volumes, mounts = [], []
    for number, source in enumerate(spec.sources):
        if source.hub is None or source.hub.token_secret_ref is None:
            continue
        reference, name = source.hub.token_secret_ref, f"hub-{number}"
        items = [{"key": reference.key, "path": TOKEN}]
        secret = {"secretName": reference.name, "items": items, "defaultMode": 0o440}
        volumes.append({"name": name, "secret": secret})
        mounts.append({"name": name, "mountPath": f"{HUB_PATH}/{number}", "readOnly": True})
    return tuple(volumes), tuple(mounts)


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
