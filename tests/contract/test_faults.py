"""Stores behind a proxy that spoils what passes: whole bytes or a clear error, never less.

`--soak` runs more seeds.
"""

import gc
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.base import CHUNK_BYTES, REQUEST_ATTEMPTS, Store, open_store
from llmcloud.cloud.errors import (
    AlreadyExists,
    CredentialsRefused,
    ObjectNotFound,
    StoreUnreachable,
)
from tests.contract.conftest import MANY
from tests.contract.proxy import Fault, Judge, Proxy, Request, behind
from tests.contract.servers import CHECKING, WRONG_KEY, Server

LARGE = random.Random(1).randbytes(5 * CHUNK_BYTES + 1)
BROKEN = (Fault.SLOW_DOWN, Fault.RESET, Fault.TRUNCATE, Fault.STALL)
"""What every SDK tries again. Azure's does not know 429, which its service does not say."""
SEEDS, SOAK_SEEDS = 4, 100
SPOILED_SHARE = 0.2


# After a reset the SDKs leave some sockets to the collector, which says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Such sockets go with the test that broke them."""
    yield
    gc.collect()


@pytest.fixture(params=CHECKING)
def server(request: pytest.FixtureRequest, running: Callable[[str], Server]) -> Server:
    """One of each provider."""
    return running(request.param)


@pytest.fixture
def direct(location: StoreLocation) -> Store:
    """The store, reached without a proxy."""
    return open_store(location)


@contextmanager
def spoiled(
    location: StoreLocation, read_timeout_seconds: float = 2
) -> Iterator[tuple[Store, Proxy]]:
    """The same store behind a proxy of its own."""
    with behind(location) as (there, proxy):
        yield open_store(there, read_timeout_seconds=read_timeout_seconds), proxy


def at_once(check: Callable[[Fault], None], faults: Iterable[Fault]) -> None:
    """Each fault in a thread of its own: most of the time is waiting before another try."""
    with ThreadPoolExecutor(len(Fault)) as executor:
        list(executor.map(check, faults))


def first(fault: Fault, wanted: Callable[[Request], bool]) -> Judge:
    """Spoil the first wanted request only."""
    left = [fault]
    return lambda request: left.pop() if left and wanted(request) else None


def is_read(request: Request) -> bool:
    return request.method == "GET"


def is_write(request: Request) -> bool:
    return request.method in ("PUT", "POST")


def test_a_read_that_breaks_once_gives_all_bytes(location: StoreLocation, direct: Store) -> None:
    direct.put("large", LARGE)

    def check(fault: Fault) -> None:
        with spoiled(location) as (store, proxy):
            proxy.judge = first(fault, is_read)
            assert b"".join(store.open("large")) == LARGE

    at_once(check, BROKEN)


def test_a_refusal_that_breaks_once_is_understood(location: StoreLocation) -> None:
    def check(fault: Fault) -> None:
        with spoiled(location) as (store, proxy):
            proxy.judge = first(fault, lambda request: True)
            with pytest.raises(ObjectNotFound):
                store.get("not there")

    at_once(check, BROKEN)


def test_a_read_that_breaks_always_ends_soon_with_a_clear_error(
    location: StoreLocation, direct: Store
) -> None:
    direct.put("large", LARGE)

    def check(fault: Fault) -> None:
        with spoiled(location, read_timeout_seconds=0.5) as (store, proxy):
            proxy.judge = lambda request: fault if is_read(request) else None
            with pytest.raises(StoreUnreachable, match="large") as caught:
                b"".join(store.open("large"))
            assert WRONG_KEY not in str(caught.value)
            assert len(proxy.requests) <= REQUEST_ATTEMPTS**2 + REQUEST_ATTEMPTS

    at_once(check, [*BROKEN, Fault.TOO_MANY])


def test_a_token_that_expires_while_reading_is_told(location: StoreLocation, direct: Store) -> None:
    direct.put("large", LARGE)
    with spoiled(location) as (store, proxy):
        proxy.judge = lambda request: Fault.EXPIRED if is_read(request) else None
        with pytest.raises(CredentialsRefused, match="large"):
            b"".join(store.open("large"))


def test_a_conditional_create_whose_answer_is_lost_is_ours(
    location: StoreLocation, direct: Store
) -> None:
    def check(fault: Fault) -> None:
        path = f"once-{fault}"
        with spoiled(location) as (store, proxy):
            proxy.judge = first(fault, is_write)
            store.put(path, b"ours", if_absent=True)
        with pytest.raises(AlreadyExists):
            direct.put(path, b"theirs", if_absent=True)
        assert direct.get(path) == b"ours"

    at_once(check, BROKEN)


def test_a_file_whose_upload_breaks_once_arrives_whole(
    location: StoreLocation, direct: Store, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(LARGE * 7)

    def check(fault: Fault) -> None:
        with spoiled(location) as (store, proxy):
            proxy.judge = first(fault, is_write)
            store.put(f"file-{fault}", file)
        assert b"".join(direct.open(f"file-{fault}")) == LARGE * 7

    at_once(check, BROKEN)


def test_a_write_that_breaks_always_leaves_what_was_there(
    location: StoreLocation, direct: Store, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(LARGE)
    direct.put("file", b"before")
    with spoiled(location) as (store, proxy):
        proxy.judge = lambda request: Fault.SLOW_DOWN if is_write(request) else None
        with pytest.raises(StoreUnreachable, match="file"):
            store.put("file", file)
        assert len(proxy.requests) <= REQUEST_ATTEMPTS**2
    assert direct.get("file") == b"before"


def test_a_listing_whose_second_page_breaks_is_whole_or_an_error(
    many: StoreLocation,
) -> None:
    with spoiled(many) as (store, proxy):
        proxy.judge = first(Fault.RESET, lambda request: len(proxy.requests) == 2)
        assert [entry.path for entry in store.list("many/")] == MANY
        assert len(proxy.requests) == 3
        proxy.requests.clear()
        proxy.judge = lambda request: Fault.TRUNCATE if len(proxy.requests) > 1 else None
        with pytest.raises(StoreUnreachable):
            list(store.list("many/"))


def test_whatever_breaks_an_object_is_old_or_new_and_never_half(
    location: StoreLocation, soak: bool, tmp_path: Path
) -> None:
    seeds = range(SOAK_SEEDS if soak else SEEDS)
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda seed: live_through(seed, location, tmp_path), seeds))


def live_through(seed: int, location: StoreLocation, folder: Path) -> None:
    """Writes and reads of one object, of which a seeded share is spoiled."""
    bodies, fates = random.Random(seed), random.Random(f"fates of {seed}")
    direct, path = open_store(location), f"object-{seed}"
    direct.put(path, b"nothing")
    possible = {b"nothing"}
    with spoiled(location) as (store, proxy):
        proxy.judge = lambda request: (
            fates.choice([*BROKEN, Fault.TOO_MANY]) if fates.random() < SPOILED_SHARE else None
        )
        for turn in range(4):
            body = bodies.randbytes(bodies.randrange(1, 3 * CHUNK_BYTES))
            file = folder / f"{seed}-{turn}"
            file.write_bytes(body)
            try:
                store.put(path, file if turn % 2 else body)
                possible = {body}
            except StoreUnreachable:
                possible.add(body)
            with suppress(StoreUnreachable):
                assert store.get(path) in possible
        assert direct.get(path) in possible
        with suppress(StoreUnreachable):
            store.delete(path)
            assert direct.head(path) is None
