"""Every test that takes `server` or `store` runs on each server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from uuid import uuid4

import pytest

from llmcloud.api.contract import ProvisionTask, StoreLocation
from llmcloud.cloud.base import Store, open_store
from llmcloud.cloud.provision import provision
from tests.contract.servers import CHECKING, MARKING, STARTERS, Server


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


@pytest.fixture
def location(server: Server, shared_bucket: Callable[[Server], str]) -> StoreLocation:
    """An empty prefix in a bucket that exists."""
    return server.location(shared_bucket(server), prefix=f"{uuid4().hex[:12]}/team/")


@pytest.fixture
def store(location: StoreLocation) -> Store:
    return open_store(location)
