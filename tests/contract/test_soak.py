"""Versions, checkpoints and models published under faults and kills, at every request.

A writer runs against a proxy. At one of its requests, drawn by seed, it is killed, before the
store has heard of it or after; or an answer is spoiled, or all from there on. Then: what is to be
seen is whole, the next attempt comes to its end, and nothing is left behind. Or a reader's answers
are spoiled. `--soak` tries all points of each server, else every tenth.
"""

import gc
import logging
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock

import pytest

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.base import REQUEST_ATTEMPTS, Store, open_store
from llmcloud.cloud.bucket import open_bucket
from llmcloud.cloud.errors import TaskError
from llmcloud.cloud.manifest import MANIFEST, download, sha256_of
from tests.contract.by_hand import unfinished_uploads
from tests.contract.proxy import Fault, Judge, Request, behind
from tests.contract.servers import Server
from tests.contract.writers import (
    LAUNCH,
    REFUSED,
    SMALL_BYTES,
    TIMEOUT_SECONDS,
    WRITERS,
    Published,
    published,
    write,
    write_sources,
)
from tests.support.figures import figure

POINTS, TENTH = 300, 10
TOGETHER = 8
SHARES = {"dataset": 2, "model": 6, "large checkpoint": 2}
FINAL = {"dataset": "version", "model": "model", "large checkpoint": "model"}
FAULTS = list(Fault)
ANSWERS = (1, 1, REQUEST_ATTEMPTS + 1, 10**6)
"""How many are spoiled in a row: the client asks again, fails and goes on, or comes to its end."""
READS = 12
STARTING = Lock()
log = logging.getLogger(__name__)
TRIED = ("writer killed", "writer's answers spoiled", "reader's answers spoiled")
ZERO = ("half-written", "corrupted", "left behind")

# After a reset the SDKs leave some sockets to the collector, which says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass(frozen=True)
class Undisturbed:
    """What a writer does when nothing happens: the requests at which it may be stopped, counted
    from 1, and files with these digests."""

    requests: Sequence[int]
    digests: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Point:
    """One disturbance of one writer, or of who reads what it wrote, in a place of its own."""

    dice: random.Random
    kind: str
    place: str
    store: Store
    undisturbed: Undisturbed
    folder: Path


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Such sockets go with the test that broke them."""
    yield
    gc.collect()


@pytest.mark.timeout(3600)
def test_at_whatever_request_a_writer_is_stopped_all_that_is_seen_is_whole(
    server: Server, store: Store, location: StoreLocation, soak: bool, tmp_path: Path
) -> None:
    write_sources(store)

    def try_point(number: int) -> Counter[str]:
        dice, place = random.Random(f"{server.name} {number}"), f"point-{number}/"
        (kind,) = dice.choices(list(SHARES), list(SHARES.values()))
        point = Point(dice, kind, place, store, undisturbed[kind], tmp_path / place)
        found = spoil_a_reader(point) if dice.random() < 0.2 else stop_a_writer(point)
        if kind == "large checkpoint":
            open_bucket(location).delete_versions(place)  # some servers hold all in memory
        shutil.rmtree(point.folder)
        return found

    points = range(0, POINTS, 1 if soak else TENTH)
    with ThreadPoolExecutor(TOGETHER) as executor:
        first = executor.map(lambda kind: run_undisturbed(kind, store, tmp_path / kind), WRITERS)
        undisturbed = dict(zip(WRITERS, first, strict=True))
        total = sum(executor.map(try_point, points), Counter[str]())
    zero = {name: total.pop(name, 0) for name in ZERO}
    if (unfinished := unfinished_uploads(location, "")) is not None:
        zero["unfinished uploads"] = len(unfinished)
    for name, number in zero.items():
        figure(f"soak, {server.name}: {name} of {len(points)} points", number, "", 0)
    for name, number in total.items():
        figure(f"soak, {server.name}: {name}", number, "points")
    assert not any(zero.values()), zero
    assert all(total[name] for name in TRIED), total


def run_undisturbed(kind: str, store: Store, folder: Path) -> Undisturbed:
    place = f"{kind}/"
    with behind(store.location) as (there, proxy):
        assert attempt(kind, there, place, 1, folder) == 0
    seen = published(store, place)
    assert FINAL[kind] in seen
    digests = {name: {file.key: file.sha256 for file in a.files} for name, a in seen.items()}
    requests = list(range(1, len(proxy.requests) + 1))
    if kind == "large checkpoint":  # in the middle of an upload in parts
        parts = [n for n in requests if len(proxy.requests[n - 1].body) > SMALL_BYTES * 100]
        requests = sorted({*parts, *(n + 1 for n in parts)})
    return Undisturbed(requests, digests)


def stop_a_writer(point: Point) -> Counter[str]:
    """A disturbed attempt, a look, the next attempt, a look."""
    dice, kind, store = point.dice, point.kind, point.store
    at, pids = dice.choice(point.undisturbed.requests), list[int]()
    with behind(store.location) as (there, proxy):
        if kill := dice.random() < 0.5:
            proxy.judge = killing(at, pids, heard=dice.random() < 0.5)
        else:
            proxy.judge = spoiling(at, dice.choice(ANSWERS), dice.choice(FAULTS))
        code = attempt(kind, there, point.place, 1, point.folder / "1", pids)
        if kill:
            proxy.wait_until_left()
    assert code in (0, REFUSED, -signal.SIGKILL), point
    before = published(store, point.place)
    found = look(store, before, point, "before")

    code_after = attempt(kind, store.location, point.place, 2, point.folder / "2")
    after = published(store, point.place)
    assert code_after == 0, point
    assert FINAL[kind] in after, point
    found += look(store, after, point, "after")
    for path in strays(store, point.place, before, after):
        log.warning("Left behind: %s", path)
        found["left behind"] += 1
    found[TRIED[0] if kill else TRIED[1]] += 1
    found["writer refused"] += code == REFUSED
    found["published by a disturbed writer"] += FINAL[kind] in before
    return found


def spoil_a_reader(point: Point) -> Counter[str]:
    """An attempt, perhaps damage in the store, and a look through faults: what is accepted is
    right, or the reader refuses."""
    dice, store = point.dice, point.store
    assert attempt(point.kind, store.location, point.place, 1, point.folder / "1") == 0
    found = Counter({TRIED[2]: 1})
    if dice.random() < 0.5:
        version = dice.choice(list(published(store, point.place).values()))
        path = version.path + dice.choice(version.files).key
        body = store.get(path)
        store.put(path, body[:-1] + bytes([body[-1] ^ 1]))
        found["reader's object damaged"] += 1
    with behind(store.location) as (there, proxy), suppress(TaskError):
        at, answers = dice.randint(1, READS), dice.choice(ANSWERS)
        proxy.judge = spoiling(at, answers, dice.choice(FAULTS))
        through = open_store(there, read_timeout_seconds=TIMEOUT_SECONDS)
        seen = look(through, published(through, point.place), point, "through")
        found["corrupted"] += seen["corrupted"]
    return found


def attempt(
    kind: str,
    location: StoreLocation,
    place: str,
    number: int,
    folder: Path,
    pids: list[int] | None = None,
) -> int:
    """Run a writer as a process; its exit code. One that is disturbed has its id among `pids`
    meanwhile, and little patience."""
    folder.mkdir(parents=True)
    timeout = None if pids is None else TIMEOUT_SECONDS
    process = LAUNCH.Process(target=write, args=(kind, location, place, number, folder, timeout))
    with STARTING:  # looks at how others ended as well, each of which can be read once
        process.start()
    assert process.pid is not None
    if pids is not None:
        pids.append(process.pid)
    wait([process.sentinel])
    if pids is not None:
        pids.clear()
    with STARTING:
        assert process.exitcode is not None
        return process.exitcode


def killing(at: int, pids: list[int], *, heard: bool) -> Judge:
    """Kill at a request, which the store hears of or not."""
    numbers = count(1)

    def judge(request: Request) -> Fault | None:
        if next(numbers) < at:
            return None
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return None if heard else Fault.SLOW_DOWN

    return judge


def spoiling(at: int, answers: int, fault: Fault) -> Judge:
    """Spoil some answers, from that to request `at` on."""
    numbers = count(1)
    return lambda request: fault if at <= next(numbers) < at + answers else None


def look(store: Store, seen: Mapping[str, Published], point: Point, name: str) -> Counter[str]:
    """Read all that is to be seen: whether it is whole, and what a reader accepts of it."""
    found = Counter[str]()
    for kind, files in seen.items():
        folder = point.folder / name / kind
        with suppress(TaskError):
            download(store, files.path, files.files, folder)
        accepted = {
            file.relative_to(folder).as_posix(): sha256_of(file)
            for file in folder.rglob("*")
            if file.is_file() and file.suffix != ".partial"
        }
        right = point.undisturbed.digests[kind]
        if accepted != right:
            log.warning("%s, %s: read %s of %s", point.place, name, accepted, dict(right))
        found["corrupted"] += bool(accepted.items() - right.items())
        found["half-written"] += accepted != right
    return found


def strays(
    store: Store, place: str, before: Mapping[str, Published], after: Mapping[str, Published]
) -> set[str]:
    """Objects that nothing names; a version that was there is adopted as it lies, with the work
    that led to it."""
    named = {seen.path + file.key for seen in after.values() for file in seen.files}
    others = {info.path for info in store.list(place)} - named
    kept = [f"{place}ledger/", *([f"{place}work/"] if "version" in before else [])]
    marks = ("/published.json", "/a1.json", "/a2.json", f"/{MANIFEST}")
    return {
        path for path in others if not path.startswith(tuple(kept)) and not path.endswith(marks)
    }
