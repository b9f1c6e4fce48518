"""Where routes and keys come from: a file, or the operator's ConfigMap and the LLMAccessKeys.

What was read once is kept while its source is away or unreadable.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmcloud.api.accesskey import AccessKeyRecord, LLMAccessKeySpec
from llmcloud.api.contract import ROUTES_CONFIG_MAP, ROUTES_KEY, RouteTable
from llmcloud.api.names import API_VERSION, Kind
from llmcloud_gateway.cluster import ApiServer, ApiServerError, Backoff, Collection
from llmcloud_gateway.keys import Keys

log = logging.getLogger(__name__)

Apply = Callable[[RouteTable], None]

_POLL_SECONDS = 1.0


async def follow_file(path: Path, apply: Apply) -> None:
    """Applies the RouteTable in `path`, and again whenever the file changes. Never returns."""
    seen: tuple[int, int, int] | None = None
    problem = ""
    while True:
        try:
            version = _version(path)
            if version != seen:
                apply(_read(path))
                seen, problem = version, ""
                log.info("Read the routes from %s", path)
        except (OSError, ValidationError) as error:
            if str(error) != problem:
                problem = str(error)
                log.error("Cannot read the routes from %s: %s", path, problem)
        await asyncio.sleep(_POLL_SECONDS)


def _version(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(path: Path) -> RouteTable:
    return RouteTable.model_validate_json(path.read_bytes())


async def follow_config_map(server: ApiServer, apply: Apply) -> None:
    """Applies the RouteTable in the ConfigMap, and again whenever it changes. Never returns."""
    applied: str | None = None

    def take(config_map: dict[str, Any]) -> None:
        nonlocal applied
        text = (config_map.get("data") or {}).get(ROUTES_KEY)
        if not isinstance(text, str) or text == applied:
            return
        apply(RouteTable.model_validate_json(text))
        applied = text
        log.info("Read the routes from ConfigMap %s", ROUTES_CONFIG_MAP)

    def take_all(config_maps: list[dict[str, Any]]) -> None:
        for config_map in config_maps:
            take(config_map)

    def hear(kind: str, config_map: dict[str, Any]) -> None:
        if kind in ("ADDED", "MODIFIED"):
            take(config_map)

    path = f"/api/v1/namespaces/{server.namespace}/configmaps"
    named = {"fieldSelector": f"metadata.name={ROUTES_CONFIG_MAP}"}
    await _follow(server, Collection(path, named), take_all, hear)


async def follow_keys(server: ApiServer, namespace: str | None, keys: Keys) -> None:
    """Keeps `keys` as the LLMAccessKeys of `namespace` (None: of all) are. Never returns.

    A key that cannot be read opens nothing.
    """
    scope = f"/namespaces/{namespace}" if namespace else ""
    path = f"/apis/{API_VERSION}{scope}/{Kind.ACCESS_KEY.plural}"

    def take_all(items: list[dict[str, Any]]) -> None:
        keys.replace(record for item in items if (record := _record(item)) is not None)

    def hear(kind: str, item: dict[str, Any]) -> None:
        if kind not in ("ADDED", "MODIFIED", "DELETED"):
            return
        record = _record(item) if kind != "DELETED" else None
        if record is not None:
            keys.put(record)
        else:
            keys.remove(item["metadata"]["namespace"], item["metadata"]["name"])

    await _follow(server, Collection(path), take_all, hear)


def _record(item: dict[str, Any]) -> AccessKeyRecord | None:
    meta = item["metadata"]
    if "deletionTimestamp" in meta:
        return None
    try:
        return AccessKeyRecord(
            namespace=meta["namespace"],
            name=meta["name"],
            created=meta["creationTimestamp"],
            spec=LLMAccessKeySpec.model_validate(item["spec"]),
            leases=(item.get("status") or {}).get("leases") or [],
        )
    except ValidationError as error:
        name = f"{meta['namespace']}/{meta['name']}"
        log.error("Cannot read LLMAccessKey %s: %s", name, error.errors(include_input=False))
        return None


async def _follow(
    server: ApiServer,
    collection: Collection,
    take_all: Callable[[list[dict[str, Any]]], None],
    hear: Callable[[str, dict[str, Any]], None],
) -> None:
    """Lists, then watches until the API server ends the watch, then lists again.

    It ends a watch every few minutes, or with 410 Gone: what a watch has missed is healed by the
    next list.
    """
    backoff = Backoff()
    while True:
        try:
            items, version = await server.list(collection)
            take_all(items)
            backoff.reset()
            async for kind, item in server.watch(collection, version):
                hear(kind, item)
        except (OSError, ApiServerError, ValueError) as error:
            log.warning("Cannot follow %s: %s", collection.path, error)
            await asyncio.sleep(backoff.next_seconds())
