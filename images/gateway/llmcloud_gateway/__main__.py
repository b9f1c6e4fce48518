"""`python -m llmcloud_gateway`: options, wiring, signals."""

import argparse
import asyncio
import logging
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex

import uvloop

from llmcloud.api.contract import (
    GATEWAY_PORT,
    GATEWAY_REPORT_PORT,
    ROUTES_CONFIG_MAP,
    ExitCode,
    RouteTable,
)
from llmcloud.cloud.authorities import trust_authorities
from llmcloud_gateway.cluster import ApiServer
from llmcloud_gateway.gateway import Gateway
from llmcloud_gateway.keys import Keys
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.metrics import Metrics
from llmcloud_gateway.report import Report
from llmcloud_gateway.routes import Routes
from llmcloud_gateway.server import Server
from llmcloud_gateway.sources import follow_config_map, follow_file, follow_keys
from llmcloud_gateway.traces import Traces

Follower = Callable[[Routes, Keys], Coroutine[None, None, None]]

log = logging.getLogger("llmcloud_gateway")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    defaults = Limits()
    parser = argparse.ArgumentParser(
        prog="python -m llmcloud_gateway",
        description="An OpenAI-compatible API over the replicas of LLMDeployments. SIGTERM drains.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=GATEWAY_PORT, help="for clients")
    add(
        "--report-port",
        type=int,
        default=GATEWAY_REPORT_PORT,
        help="for /samples, /metrics, /healthz and /ready",
    )
    routes = parser.add_mutually_exclusive_group(required=True)
    routes.add_argument(
        "--routes",
        type=Path,
        metavar="FILE",
        help="a RouteTable as JSON, with its keys, read again as it changes",
    )
    routes.add_argument(
        "--routes-config-map",
        action="store_true",
        help=f"the ConfigMap {ROUTES_CONFIG_MAP} of this pod's namespace, and LLMAccessKeys",
    )
    add("--watch-namespace", help="whose LLMAccessKeys count; absent: all namespaces'")
    add(
        "--drain-seconds",
        type=float,
        default=defaults.drain_seconds,
        help="how long requests in flight may take after SIGTERM",
    )
    add("--max-body-bytes", type=int, default=defaults.body_bytes, help="larger gets 413")
    add("--max-connections", type=int, default=defaults.connections, help="more get 503")
    add(
        "--header-timeout-seconds",
        type=float,
        default=defaults.header_seconds,
        help="for a request's headers to arrive",
    )
    add(
        "--idle-timeout-seconds",
        type=float,
        default=defaults.idle_seconds,
        help="for the next request on a connection",
    )
    add("--traces-url", help="where OpenTelemetry traces go (OTLP/HTTP); absent: nowhere")
    add(
        "--traces-fraction",
        type=float,
        default=1.0,
        help="of requests that bring no traceparent, how many are traced",
    )
    return parser.parse_args(arguments)


def limits_from(options: argparse.Namespace) -> Limits:
    return replace(
        Limits(),
        body_bytes=options.max_body_bytes,
        connections=options.max_connections,
        header_seconds=options.header_timeout_seconds,
        idle_seconds=options.idle_timeout_seconds,
        drain_seconds=options.drain_seconds,
    )


def follower_from(options: argparse.Namespace) -> Follower:
    """What follows routes and keys. ValueError or OSError outside a pod without --routes."""
    if options.routes is not None:
        return partial(_follow_table, options.routes)
    return partial(_follow_cluster, ApiServer.of_this_pod(), options.watch_namespace)


async def _follow_table(path: Path, routes: Routes, keys: Keys) -> None:
    def apply(table: RouteTable) -> None:
        routes.apply(table)
        keys.replace(table.keys or [])

    await follow_file(path, apply)


async def _follow_cluster(
    server: ApiServer, namespace: str | None, routes: Routes, keys: Keys
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(follow_config_map(server, routes.apply))
        group.create_task(follow_keys(server, namespace, keys))


def traces_from(options: argparse.Namespace) -> Traces | None:
    """ValueError if the address is none."""
    if options.traces_url is None:
        return None
    return Traces(options.traces_url, options.traces_fraction, socket.gethostname())


async def serve(options: argparse.Namespace, follow: Follower, traces: Traces | None) -> None:
    """Serves until SIGTERM or SIGINT, then drains."""
    limits = limits_from(options)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    routes = Routes(limits, loop.time)
    keys = Keys(time.time, limits, f"{socket.gethostname()[:64]}-{token_hex(4)}")
    source = loop.create_task(follow(routes, keys))
    source.add_done_callback(lambda _: stop.set())
    gateway = Gateway(routes, keys, limits, traces)
    clients = Server(gateway.handle, limits, gateway.screen)
    metrics = Metrics(routes, clients)
    reports = Server(Report(routes, keys, metrics, lambda: clients.draining).handle, limits)
    report_port = await reports.start(options.report_port)
    port = await clients.start(options.port)
    sending = loop.create_task(traces.run()) if traces is not None else None
    log.info("Serving clients on port %d and reports on port %d", port, report_port)

    await stop.wait()
    if source.done():
        source.result()
    log.info("Draining %d connections", len(clients.connections))
    await clients.drain(limits.drain_seconds)
    await reports.drain(0)
    source.cancel()
    if sending is not None:
        sending.cancel()
        await asyncio.wait([sending])
    log.info("Drained")


def main() -> int:
    options = parse_arguments(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        trust_authorities()
        follow = follower_from(options)
        traces = traces_from(options)
    except (ValueError, OSError) as error:
        log.error("%s", error)
        return ExitCode.CONFIGURATION
    uvloop.run(serve(options, follow, traces))
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
