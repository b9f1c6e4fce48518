"""The wiring, on one screen: kopf watches, the queue collects, the leader works."""

import asyncio
import contextlib
import gc
import logging
import random
from collections.abc import Iterable
from importlib.metadata import version

import aiohttp
import kopf
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, generate_latest

from llmcloud.api.names import API_VERSION, Kind
from llmcloud.cluster.client import Client, ClusterError, connect, object_path
from llmcloud.cluster.egressbook import EgressBook
from llmcloud.cluster.keybook import KeyBook
from llmcloud.cluster.lease import LeaderLease
from llmcloud.cluster.nodes import METADATA_ONLY
from llmcloud.cluster.observe import Observer, Reference, Scope
from llmcloud.cluster.recorder import Recorder
from llmcloud.cluster.reports import Reports
from llmcloud.cluster.sampler import Sampler
from llmcloud.control.kinds import Reconciler
from llmcloud.control.pulse import Pulse
from llmcloud.control.queue import Key, WorkQueue
from llmcloud.control.references import References
from llmcloud.control.scaling_metrics import ScalingCollector
from llmcloud.control.training_metrics import TrainingMetrics
from llmcloud.control.worker import run_worker
from llmcloud.hints import CHILDREN, OURS, Hints, build_registry, build_settings
from llmcloud.scaling.book import ScalingBook
from llmcloud.settings import Settings, identity

logger = logging.getLogger(__name__)
LEADING = Gauge("llmcloud_leading", "1 while this process holds the Lease")


def collect_garbage_rarely() -> None:
    """What was imported stays, and need not be looked through again and again."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def run(settings: Settings) -> None:
    """Run until a signal comes or leadership is lost."""
    collect_garbage_rarely()
    queue, pulse, book, keys = WorkQueue(), Pulse(), ScalingBook(), KeyBook()
    trainings = TrainingMetrics()
    egress = EgressBook()
    REGISTRY.register(ScalingCollector(book))
    REGISTRY.register(trainings)
    references: References[Key] = References()
    hints = Hints(queue, references, pulse, settings.watch_namespace)
    async with connect() as client, pod_session() as session:
        scope = Scope(settings.namespace, settings.watch_namespace)

        def note(referrer: Reference, targets: Iterable[Reference]) -> None:
            references.note(Key(*referrer), (Key(*target) for target in targets))

        defaults = settings.pod_defaults(version("llmcloud"))
        observer = Observer(
            client, Reports(session), book, keys, egress, scope, note, defaults.catalogue
        )
        reconciler = Reconciler(
            client,
            observer,
            Recorder(client, identity()),
            defaults,
            hints.wrote,
            hints.applied,
            trainings,
            queue.wake,
        )
        sampler = Sampler(
            client,
            session,
            book,
            keys,
            egress,
            settings.namespace,
            lambda kind, namespace, name: queue.wake(Key(kind, namespace, name)),
        )
        server = await _serve(settings.port, pulse, queue)
        await _await_kinds(settings, client)
        stop = asyncio.Event()
        watching = asyncio.create_task(_watch(settings, hints, stop))
        lease = LeaderLease(client, settings.namespace, identity())
        leading = asyncio.create_task(
            _lead(settings, client, lease, queue, reconciler, sampler, hints, pulse)
        )
        done, _ = await asyncio.wait({watching, leading}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        leading.cancel()
        results = await asyncio.gather(watching, leading, return_exceptions=True)
        with contextlib.suppress(ClusterError):
            await lease.release()
        await server.cleanup()
        for task in done:
            task.result()
        logger.info("Stopped: %s", [type(result).__name__ for result in results])


def pod_session() -> aiohttp.ClientSession:
    """For what pods tell: nothing is unpacked, so that a bounded answer is bounded in memory."""
    return aiohttp.ClientSession(trust_env=False, auto_decompress=False)


async def _await_kinds(settings: Settings, client: Client) -> None:
    """kopf looks for kinds once, at its start: wait until the API server serves all of ours."""
    for kind in Kind:
        path = object_path(API_VERSION, kind, settings.watch_namespace)
        while True:
            try:
                await client.call("GET", path, query={"limit": "1"})
                break
            except ClusterError as error:
                logger.warning("%s is not served yet: %s", kind, error.message)
                await asyncio.sleep(1.0)


async def _watch(settings: Settings, hints: Hints, stop: asyncio.Event) -> None:
    namespaces = [n for n in (settings.watch_namespace, settings.namespace) if n is not None]
    await kopf.operator(
        registry=build_registry(hints),
        settings=build_settings(),
        standalone=True,
        clusterwide=settings.watch_namespace is None,
        namespaces=namespaces if settings.watch_namespace else (),
        stop_flag=stop,
    )


async def _lead(
    settings: Settings,
    client: Client,
    lease: LeaderLease,
    queue: WorkQueue,
    reconciler: Reconciler,
    sampler: Sampler,
    hints: Hints,
    pulse: Pulse,
) -> None:
    await lease.acquire()
    LEADING.set(1)
    queue.wake(hints.routes)
    async with asyncio.TaskGroup() as group:
        group.create_task(lease.keep())
        group.create_task(_resync(settings, client, queue, hints, pulse))
        group.create_task(sampler.run())
        for _ in range(settings.workers):
            group.create_task(run_worker(queue, reconciler.reconcile, reconciler.excuse))


async def _resync(
    settings: Settings, client: Client, queue: WorkQueue, hints: Hints, pulse: Pulse
) -> None:
    """Wake every object now and then: what a lost hint left behind is found again.

    What is listed must have been heard, or soon is: else the watch of its kind is deaf.
    """
    while True:
        await asyncio.sleep(settings.resync_seconds * random.uniform(0.9, 1.1))
        for kind in Kind:
            try:
                items, _ = await client.list(
                    object_path(API_VERSION, kind, settings.watch_namespace)
                )
            except ClusterError as error:
                logger.warning("Resync of %s was put off: %s", kind, error.message)
                continue
            for item in items:
                meta = item["metadata"]
                pulse.list(kind, meta["resourceVersion"])
                queue.wake(Key(kind, meta["namespace"], meta["name"]), random.uniform(0, 30))
        for group, api, _, child in CHILDREN:
            path = object_path(f"{group}/{api}".lstrip("/"), child, settings.watch_namespace)
            try:
                items, _ = await client.list(path, labels=OURS, accept=METADATA_ONLY)
            except ClusterError as error:
                logger.warning("Resync of %s was put off: %s", child, error.message)
                continue
            for item in items:
                pulse.list(child, item["metadata"]["resourceVersion"])
        queue.wake(hints.routes)


async def _serve(port: int, pulse: Pulse, queue: WorkQueue) -> web.AppRunner:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        complaint = pulse.complaint(queue)
        return web.Response(text=complaint or "ok", status=503 if complaint else 200)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
