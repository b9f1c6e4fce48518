"""Buckets made and removed under faults and kills, at every request.

As in test_soak.py: a process is killed at a request drawn by seed, or its answers are spoiled. Then
no bucket is without its owner's mark, where the server takes that when the bucket is created, and
the next attempt comes to its end: a bucket with all protections, or none.
"""

import gc
import logging
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait

import pytest

from llmcloud.api.contract import DeleteStoreTask, ProvisionTask, StoreLocation
from llmcloud.cloud.base import open_store
from llmcloud.cloud.bucket import open_bucket
from llmcloud.cloud.errors import BucketNotFound, TaskError
from llmcloud.cloud.provision import provision
from llmcloud.cloud.remove import remove
from tests.contract.by_hand import begin_upload
from tests.contract.proxy import behind
from tests.contract.servers import MARKING, Server
from tests.contract.test_provision import PROTECTIONS
from tests.contract.test_soak import ANSWERS, FAULTS, STARTING, killing, spoiling
from tests.contract.writers import LAUNCH, REFUSED, TIMEOUT_SECONDS
from tests.support.figures import figure

POINTS, TENTH = 100, 20
"""Of twenty in a row the first two: one that makes, one that removes."""
TOGETHER = 4
OWNER = "uid-a"
ZERO = ("left", "without their mark", "unprotected", "with a probe")
MARKED_LATER = ("moto", "fake-gcs-server")
"""They drop the mark that comes with the request to create."""

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


def make(location: StoreLocation) -> None:
    provision(ProvisionTask(store=location, create=True, owner_uid=OWNER))


def take_away(location: StoreLocation) -> None:
    """Without asking whose it is where no mark is kept."""
    with suppress(BucketNotFound):
        open_bucket(location).delete()


def take_away_ours(location: StoreLocation) -> None:
    remove(DeleteStoreTask(store=location, owner_uid=OWNER))


def run(work: Callable[[StoreLocation], None], location: StoreLocation, timeout: float) -> None:
    """Runs in a process of its own."""
    logging.disable()
    open_store.__kwdefaults__ = {"read_timeout_seconds": timeout}
    try:
        work(location)
    except TaskError:
        sys.exit(REFUSED)


def disturbed(
    work: Callable[[StoreLocation], None], location: StoreLocation, dice: random.Random, last: int
) -> str:
    """Stop the work at one of its requests; how."""
    at, pids = dice.randint(1, last), list[int]()
    with behind(location) as (there, proxy):
        if kill := dice.random() < 0.5:
            proxy.judge = killing(at, pids, heard=dice.random() < 0.5)
        else:
            proxy.judge = spoiling(at, dice.choice(ANSWERS), dice.choice(FAULTS))
        process = LAUNCH.Process(target=run, args=(work, there, TIMEOUT_SECONDS))
        with STARTING:
            process.start()
        assert process.pid is not None
        pids.append(process.pid)
        wait([process.sentinel])
        pids.clear()
        if kill:
            proxy.wait_until_left()
    with STARTING:
        assert process.exitcode in (0, REFUSED, -signal.SIGKILL), process.exitcode
        return {0: "ended", REFUSED: "refused"}.get(process.exitcode, "killed")


def fill(location: StoreLocation) -> None:
    make(location)
    store = open_store(location)
    for number in range(3):
        store.put(f"{number % 2}", f"{number}".encode())
    begin_upload(location, "unfinished")


@pytest.mark.timeout(3600)
def test_at_whatever_request_it_is_stopped_a_bucket_is_made_or_removed_in_the_end(
    server: Server, soak: bool
) -> None:
    take = take_away_ours if server.name in MARKING else take_away

    def requests_of(work: Callable[[StoreLocation], None], location: StoreLocation) -> int:
        with behind(location) as (there, proxy):
            work(there)
        return len(proxy.requests)

    first = server.location("stopped-never", prefix="team/")
    last = {"make": requests_of(make, first)}
    fill(first)
    last["remove"] = requests_of(take, first)

    def try_point(number: int) -> Counter[str]:
        dice = random.Random(f"{server.name} {number}")
        location = server.location(f"stopped-{number}", prefix="team/")
        if number % 2:
            how = disturbed(make, location, dice, last["make"])
            return Counter({f"making {how}": 1, **made_again(server, location)})
        fill(location)
        how = disturbed(take, location, dice, last["remove"])
        bucket = open_bucket(location)
        unmarked = bucket.exists() and bucket.owner() != OWNER and server.name in MARKING
        take(location)
        return Counter(
            {f"removal {how}": 1, "without their mark": unmarked, "left": bucket.exists()}
        )

    points = [n for n in range(POINTS) if soak or n % TENTH < 2]
    with ThreadPoolExecutor(TOGETHER) as executor:
        total = sum(executor.map(try_point, points), Counter[str]())
    zero = {name: total.pop(name, 0) for name in ZERO}
    for name, count in zero.items():
        figure(f"soak, {server.name}: buckets {name} of {len(points)} points", count, "", 0)
    for name, count in total.items():
        figure(f"soak, {server.name}: {name}", count, "points")
    assert not any(zero.values()), zero
    assert total["making killed"] + total["removal killed"], total


def made_again(server: Server, location: StoreLocation) -> Mapping[str, int]:
    """What the next attempt makes of what is there. A bucket without a mark is not ours to change;
    that no other server than `MARKED_LATER` leaves one is what is shown."""
    bucket = open_bucket(location)
    foreign = bucket.exists() and bucket.owner() != OWNER
    outcome = provision(ProvisionTask(store=location, create=True, owner_uid=OWNER))
    assert outcome.provision is not None
    found = outcome.provision.protections
    right = found["owned"] is False if foreign else found == PROTECTIONS[server.name]
    return {
        "without their mark": foreign and server.name not in MARKED_LATER,
        "unprotected": not right,
        "with a probe": len(list(open_store(location).list(""))),
    }
