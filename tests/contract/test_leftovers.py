"""What a dataset that was deleted in mid-work leaves goes when its path is next prepared at."""

import json
import time
from pathlib import Path

import pytest

from llmcloud.api.contract import StoreLocation
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import StoreError
from llmcloud_data.leftovers import WEEK_SECONDS
from tests.contract.proxy import Fault, Request, behind
from tests.contract.test_workers import manifest_of, run, task_of, write_sources

GONE = "out/work/gone/"


def leave_work(location: StoreLocation, folder: Path) -> None:
    """An attempt of another dataset that comes as far as the merge, and no further."""

    def refuse(request: Request) -> Fault | None:
        return Fault.EXPIRED if "merge.json" in request.target else None

    with behind(location) as (there, proxy):
        proxy.judge = refuse
        task = task_of(there, "out/", 1, 1).model_copy(update={"owner_uid": "gone"})
        with pytest.raises(StoreError):
            run(task, folder / "gone", 0)


@pytest.mark.parametrize("server", ["versitygw", "azurite"], indirect=True)
def test_old_work_that_nobody_goes_on_with_is_removed_and_young_work_stays(
    store: Store, location: StoreLocation, tmp_path: Path
) -> None:
    write_sources(store)
    leave_work(location, tmp_path)
    left = {info.path: info.etag for info in store.list(GONE)}
    assert len(left) > 3
    made = run(task_of(location, "out/", 1, 1), tmp_path, 0)
    assert {info.path: info.etag for info in store.list(GONE)} == left

    agreement = json.loads(store.get(GONE + "a1.json"))
    assert abs(agreement["beganSeconds"] - time.time()) < WEEK_SECONDS / 2
    agreement["beganSeconds"] -= WEEK_SECONDS + 60
    store.put(GONE + "a1.json", json.dumps(agreement).encode())
    again = run(task_of(location, "out/", 2, 1), tmp_path, 0)
    assert list(store.list(GONE)) == []
    assert made.dataset is not None
    assert again.dataset == made.dataset.model_copy(update={"reused": True})
    assert manifest_of(store, again, "out/")
