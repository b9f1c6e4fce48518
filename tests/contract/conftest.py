"""Every test that takes `server` or `store` runs on each server."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from uuid import uuid4

import pytest

from llmcloud.api.contract import ProvisionTask, StoreLocation
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.provision import provision
from tests.contract.servers import CHECKING, MARKING, STARTERS, Server

MANY = [f"many/{number:04d}" for number in range(1010)]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Starts each server once, when a test first needs it."""
    started: dict[str, Server] = {}
    with ExitStack() as stack:

        def start(name: str) -> Server:
            if name not in started:
                folder = tmp_path_factory.mktemp("server") / name
                started[name] = stack.enter_context(STARTERS[name](folder))
            return started[name]

        yield start


@pytest.fixture(params=list(STARTERS))
def server(request: pytest.FixtureRequest, running: Callable[[str], Server]) -> Server:
    return running(request.param)


@pytest.fixture(params=CHECKING)
def strict(request: pytest.FixtureRequest, running: Callable[[str], Server]) -> Server:
    """Each server that checks credentials."""
    return running(request.param)


@pytest.fixture(params=MARKING)
def marking(request: pytest.FixtureRequest, running: Callable[[str], Server]) -> Server:
    """Each server that keeps an owner's mark."""
    return running(request.param)


@pytest.fixture
def versitygw(running: Callable[[str], Server]) -> Server:
    """The one for tests that need any server."""
    return running("versitygw")


@pytest.fixture(scope="session")
def shared_bucket(running: Callable[[str], Server]) -> Callable[[Server], str]:
    """A bucket of each server that tests share, each below its own prefix."""

    @cache
    def bucket(server: Server) -> str:
        task = ProvisionTask(store=server.location("shared"), create=True, owner_uid="uid")
        assert provision(task).succeeded
        return "shared"

    return bucket


@pytest.fixture(scope="session")
def filled(shared_bucket: Callable[[Server], str]) -> Callable[[Server], StoreLocation]:
    """A prefix of each server with the objects MANY and another, for tests that only read."""

    @cache
    def fill(server: Server) -> StoreLocation:
        location = server.location(shared_bucket(server), prefix="filled/")
        store = open_store(location)
        with ThreadPoolExecutor(8) as executor:
            list(executor.map(lambda path: store.put(path, b"x"), [*MANY, "other"]))
        return location

    return fill


@pytest.fixture
def many(server: Server, filled: Callable[[Server], StoreLocation]) -> StoreLocation:
    """More objects than fit a page of a listing."""
    return filled(server)


@pytest.fixture
def location(server: Server, shared_bucket: Callable[[Server], str]) -> StoreLocation:
    """An empty prefix in a bucket that exists."""
    return server.location(shared_bucket(server), prefix=f"{uuid4().hex[:12]}/team/")


@pytest.fixture
def store(location: StoreLocation) -> Store:
    return open_store(location)
