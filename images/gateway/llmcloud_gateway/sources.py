"""Where the routes come from: a file, or the operator's ConfigMap.

A table that was read once is kept while its source is away or unreadable.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from llmcloud.api.contract import ROUTES_CONFIG_MAP, ROUTES_KEY, RouteTable
from llmcloud_gateway.cluster import ApiServer, ApiServerError, Backoff

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
    """Applies the RouteTable in the ConfigMap, and again whenever it changes. Never returns.

    Lists, then watches until the API server ends the watch (it does so every few minutes, or with
    410 Gone), then lists again: what a watch has missed is healed by the next list.
    """
    backoff = Backoff()
    applied: str | None = None

    def take(config_map: dict[str, object]) -> None:
        nonlocal applied
        data = config_map.get("data")
        text = data.get(ROUTES_KEY) if isinstance(data, dict) else None
        if not isinstance(text, str) or text == applied:
            return
        apply(RouteTable.model_validate_json(text))
        applied = text
        log.info("Read the routes from ConfigMap %s", ROUTES_CONFIG_MAP)

    while True:
        try:
            items, version = await server.list_config_maps(ROUTES_CONFIG_MAP)
            for item in items:
                take(item)
            backoff.reset()
            async for kind, item in server.watch_config_maps(ROUTES_CONFIG_MAP, version):
                if kind in ("ADDED", "MODIFIED"):
                    take(item)
        except (OSError, ApiServerError, ValueError) as error:
            log.warning("Cannot follow ConfigMap %s: %s", ROUTES_CONFIG_MAP, error)
            await asyncio.sleep(backoff.next_seconds())
