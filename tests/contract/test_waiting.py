"""Who waits for a unit that takes long does not do it as well, until its worker is gone.

Two processes share work in a real store. What time passes is told by the signs of the first.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmcloud.api.base import ApiModel
from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.base import Store, open_store
from llmcloud_data.work import Unit, Work, Worker
from tests.contract.writers import LAUNCH

PATIENCE_SECONDS = 9.0
SIGNS = 5
"""Of which three come while somebody would have patience."""
DEADLINE_SECONDS = 180


class Made(ApiModel):
    """Whose result counts."""

    by: int


def work_until_told(location: StoreLocation, index: int, folder: Path) -> None:
    """Runs in a process of its own: says that the unit is begun, and ends it when told."""

    def make() -> Made:
        (folder / f"begun-{index}").touch()
        wait_for((folder / "end").exists)
        return Made(by=index)

    work = Work(open_store(location), "work/", Worker(index, 2), PATIENCE_SECONDS)
    (made,) = work.results([Unit("merge", make)], Made, lambda _: None)
    (folder / f"made-by-{made.by}-seen-by-{index}").touch()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
@pytest.mark.parametrize("killed", [False, True])
def test_a_unit_under_way_is_waited_for_and_a_dead_workers_taken_over(
    store: Store, location: StoreLocation, tmp_path: Path, killed: bool
) -> None:
    def signs() -> set[tuple[str, str]]:
        return {(info.path, info.etag) for info in store.list("work/beats/")}

    first, second = (
        LAUNCH.Process(target=work_until_told, args=(location, index, tmp_path)) for index in (0, 1)
    )
    first.start()
    wait_for((tmp_path / "begun-0").exists)
    second.start()
    seen: set[tuple[str, str]] = set()

    def enough() -> bool:
        seen.update(signs())
        return len(seen) >= SIGNS

    wait_for(enough)
    assert not (tmp_path / "begun-1").exists()
    if killed:
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        wait_for((tmp_path / "begun-1").exists)
    (tmp_path / "end").touch()
    for process in (first, second):
        process.join(DEADLINE_SECONDS)
    assert (first.exitcode, second.exitcode) == (-signal.SIGKILL if killed else 0, 0)
    assert (tmp_path / f"made-by-{int(killed)}-seen-by-1").exists()
    assert bool(signs()) is killed, "who ends a unit takes its signs away"
