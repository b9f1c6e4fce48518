"""`make bench-gateway`: CPU of the gateway beside other proxies, and many streams at once.

The proxy has one core, load and engines the other. All proxies run at once and take turns, so
that what else the machine does falls on all alike; figures are medians over the rounds. CPU is
that of the proxy's whole process tree.
"""

import argparse
import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import uvloop

from tests.bench.proxies.load import Seen, body, percentile, run
from tests.bench.proxies.processes import Process, free_port, python
from tests.bench.proxies.rivals import KEY, PACKAGES, Proxies
from tests.support.figures import LINES, figure

LOAD_CORE = 1
CONNECTIONS = 32
MICRO = 1e6
MEGABYTE = 1 << 20


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench.gateway", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=3.0, help="of each measurement in a round")
    add("--streams", type=int, default=1000, help="at once, of 10 chunks a second")
    add("--stream-seconds", type=int, default=60, help="how long they last; 0: no such run")
    add("--beside", nargs="*", default=list(PACKAGES), choices=list(PACKAGES))
    add("--folder", type=Path, help="kept, with the installed rivals; absent: a temporary one")
    return parser.parse_args()


@contextmanager
def engines(folder: Path, number: int, chunks: int, gap_seconds: float) -> Iterator[list[str]]:
    """Engines on the load's core, as host:port."""
    started: list[Process] = []
    try:
        addresses = []
        for n in range(number):
            port = free_port()
            options = ("--port", str(port), "--chunks", str(chunks))
            command = python(
                "tests.bench.proxies.engine", *options, "--gap-seconds", str(gap_seconds)
            )
            started.append(Process("engine", command, LOAD_CORE, folder / f"engine-{port}-{n}.log"))
            started[-1].wait_for(port)
            addresses.append(f"127.0.0.1:{port}")
        yield addresses
    finally:
        for process in started:
            process.stop()


Costs = dict[str, dict[str, list[float]]]
"""Seconds of CPU for one unit, by measurement and proxy, one for each round."""


async def measure_costs(options: argparse.Namespace, proxies: Proxies) -> None:
    """What a request of 1 kB and of 32 kB and a chunk of a stream cost."""
    costs: Costs = defaultdict(lambda: defaultdict(list))
    latencies: dict[str, list[float]] = defaultdict(list)
    errors: dict[str, int] = defaultdict(int)
    for _ in range(options.rounds):
        for name, (process, port) in proxies.running.items():
            for what, payload, per_chunk in (
                ("CPU per 1 kB request", body(1000, stream=False), False),
                ("CPU per 32 kB request", body(32_000, stream=False), False),
                ("CPU per SSE chunk", body(1000, stream=True), True),
            ):
                before = process.cpu_seconds()
                seen = await run(
                    port, KEY, payload, connections=CONNECTIONS, seconds=options.seconds
                )
                units = seen.chunks if per_chunk else seen.requests
                costs[what][name].append((process.cpu_seconds() - before) / max(1, units))
                errors[name] += seen.errors
            seen = await run(port, KEY, body(1000, stream=False), connections=1, seconds=1)
            latencies[name].append(median(seen.latencies) if seen.latencies else 0.0)
    for what, by_name in costs.items():
        _report_cost(what, {name: median(values) for name, values in by_name.items()})
    for name, values in latencies.items():
        figure(f"{name}: p50 at 1 connection", median(values) * 1000, "ms")
    for name, count in errors.items():
        figure(f"{name}: errors", count, "", 0)


def _report_cost(what: str, medians: dict[str, float]) -> None:
    envoy = medians.get("Envoy")
    goal = {"CPU per 1 kB request": 2.2, "CPU per SSE chunk": 1.1}.get(what)
    for name, value in medians.items():
        if name == "llmcloud" and envoy and goal:
            figure(f"{name}: {what}", value * MICRO, "us", goal, anchor=("Envoy", envoy * MICRO))
        else:
            figure(f"{name}: {what}", value * MICRO, "us")


async def measure_streams(options: argparse.Namespace, folder: Path) -> None:
    """Many streams at once through one core, and the same load without a gateway."""
    chunks = options.stream_seconds * 10
    with engines(folder, 1, chunks, 0.1) as addresses:
        proxies = Proxies(folder, addresses)
        proxies.start_ours()
        process, port = proxies.running["llmcloud"]
        try:
            direct = await _streams(int(addresses[0].rpartition(":")[2]), options)
            memory = process.memory_bytes()
            began = process.cpu_seconds()
            samples: list[int] = []
            sampler = asyncio.create_task(_sample_memory(process, samples))
            through = await _streams(port, options)
            sampler.cancel()
            cpu = process.cpu_seconds() - began
            after = process.memory_bytes()
        finally:
            process.stop()
    name = f"{options.streams} streams"
    expected = options.streams * chunks
    figure(f"{name}: errors", through.errors, "", 0)
    figure(f"{name}: chunks lost", expected - through.chunks, "", 0)
    gap, gap_direct = percentile(through.gaps, 99), percentile(direct.gaps, 99)
    figure(f"{name}: p99 gap direct", gap_direct * 1000, "ms")
    figure(f"{name}: p99 gap", gap * 1000, "ms")
    figure(f"{name}: p99 gap added", (gap - gap_direct) * 1000, "ms", 10)
    figure(f"{name}: p99 gap as sent by the engine", percentile(through.sent_gaps, 99) * 1000, "ms")
    figure(f"{name}: CPU per chunk", cpu / max(1, through.chunks) * MICRO, "us")
    figure(f"{name}: share of one core", cpu / options.stream_seconds, "")
    _report_memory(name, memory, samples, after)


def _report_memory(name: str, before: int, samples: list[int], after: int) -> None:
    figure(f"{name}: memory before", before / MEGABYTE, "MB")
    figure(f"{name}: memory at one third", samples[len(samples) // 3] / MEGABYTE, "MB")
    figure(f"{name}: memory at most", max(samples) / MEGABYTE, "MB")
    figure(f"{name}: memory after", after / MEGABYTE, "MB")


async def _sample_memory(process: Process, samples: list[int]) -> None:
    while True:
        samples.append(process.memory_bytes())
        await asyncio.sleep(1)


async def _streams(port: int, options: argparse.Namespace) -> Seen:
    payload = body(1000, stream=True)
    return await run(port, KEY, payload, connections=options.streams, seconds=0, paced=True)


async def measure(options: argparse.Namespace, folder: Path) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    with engines(folder, 2, 100, 0.005) as addresses:
        proxies = Proxies(folder, addresses)
        try:
            proxies.start_ours()
            proxies.start_relay()
            proxies.start_others(options.beside)
            for name, why in proxies.absent.items():
                print(f"{name} was not measured: {why}")
            await measure_costs(options, proxies)
        finally:
            for process, _ in proxies.running.values():
                process.stop()
    if options.stream_seconds:
        await measure_streams(options, folder)
    print("\n".join(LINES))


def main() -> None:
    options = parse()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        uvloop.run(measure(options, options.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
