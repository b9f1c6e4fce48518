"""A store on this machine, a small dataset in it, and the runtime image's interpreter."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmcloud.api.contract import ProvisionTask, StoreLocation
from llmcloud.cloud.provision import provision
from tests.contract.servers import versitygw
from tests.support.forking import forking
from tests.support.ranks import Runtime, Training, publish_dataset, runtime_image


@pytest.fixture(scope="session")
def image() -> Iterator[Runtime]:
    """Whose processes start as a pod's do."""
    with runtime_image() as image:
        yield image


@pytest.fixture(scope="session")
def runtime(image: Runtime) -> Iterator[Runtime]:
    with forking(image) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreLocation]:
    folder = tmp_path_factory.mktemp("training")
    with versitygw(folder / "server") as server:
        location = server.location("training", prefix="team/")
        task = ProvisionTask(store=location, create=True, owner_uid="uid")
        assert provision(task).succeeded
        publish_dataset(location, folder / "dataset")
        publish_dataset(location, folder / "other", "other", seed=4)
        yield location


@pytest.fixture(scope="session")
def job(runtime: Runtime, location: StoreLocation) -> Callable[..., Training]:
    """Makes a job of 24 steps; members replace those of its task."""

    def make(name: str, **members: Any) -> Training:
        settings = {"max_steps": 24, "checkpoint_every_steps": 6, **members}
        return Training(runtime, location, name, **settings)

    return make


@pytest.fixture(scope="session")
def undisturbed(job: Callable[..., Training]) -> dict[int, float]:
    """The loss at every step of a run of one rank that nothing disturbs."""
    training = job("undisturbed")
    training.run(1)
    return training.losses()
