"""The ledger on real servers: order, fencing, races."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmcloud.api.contract import CheckpointEntry, FileEntry, LedgerEntry, ModelManifest
from llmcloud.cloud.base import REQUEST_ATTEMPTS, Store
from llmcloud.cloud.errors import DigestMismatch, Fenced, OutputOccupied
from llmcloud.cloud.ledger import Ledger
from llmcloud.cloud.manifest import download, files_digest
from tests.contract.proxy import Fault, Request, behind
from tests.contract.writers import SMALL_BYTES, published, train

RECIPE = "sha256:" + "1" * 64
OTHER_RECIPE = "sha256:" + "2" * 64


def ledger(store: Store, attempt: int, *, recipe: str = RECIPE, owner: str = "uid-a") -> Ledger:
    return Ledger(store, "job/", attempt=attempt, recipe=recipe, owner_uid=owner)


def checkpoint(step: int) -> CheckpointEntry:
    return CheckpointEntry(
        step=step, path=f"checkpoints/step-{step}/", files=[], bytes=0, time="2026-01-01T00:00:00Z"
    )


def model(attempt: int, recipe: str = RECIPE) -> ModelManifest:
    files = [FileEntry(key="model.safetensors", bytes=1, sha256="0" * 64)]
    return ModelManifest(
        digest=files_digest(files),
        recipe=recipe,
        attempt=attempt,
        kind="full",
        path=f"model/a{attempt}/",
        files=files,
        lineage={},
        metrics={},
        passed=True,
    )


def slots(store: Store) -> list[LedgerEntry]:
    return [LedgerEntry.model_validate_json(store.get(e.path)) for e in store.list("job/ledger/")]


def test_a_first_attempt_finds_nothing_and_takes_the_first_slot(store: Store) -> None:
    past = ledger(store, 1).begin()
    assert (past.holder, past.checkpoints, past.complete) == (None, [], None)
    assert [entry.path for entry in store.list("job/")] == ["job/ledger/00000000.json"]


def test_the_next_attempt_finds_the_checkpoints_newest_first(store: Store) -> None:
    first = ledger(store, 1)
    first.begin()
    first.append_checkpoint(checkpoint(10))
    first.append_checkpoint(checkpoint(20))
    past = ledger(store, 2).begin()
    assert [entry.step for entry in past.checkpoints] == [20, 10]
    kinds = [entry.kind for entry in slots(store)]
    assert kinds == ["attempt", "checkpoint", "checkpoint", "attempt"]


def test_an_older_attempt_is_fenced_whatever_it_publishes(store: Store) -> None:
    older = ledger(store, 1)
    older.begin()
    ledger(store, 2).begin()
    with pytest.raises(Fenced, match="attempt 2"):
        older.append_checkpoint(checkpoint(10))
    with pytest.raises(Fenced):
        older.complete(model(1))
    with pytest.raises(Fenced):
        ledger(store, 1).begin()
    assert len(slots(store)) == 2


def test_an_attempt_cannot_begin_twice(store: Store) -> None:
    ledger(store, 1).begin()
    with pytest.raises(Fenced):
        ledger(store, 1).begin()


def test_a_complete_recipe_is_found_by_any_owner_and_takes_no_slot(store: Store) -> None:
    done = ledger(store, 3)
    done.begin()
    done.complete(model(3))
    past = ledger(store, 1, owner="uid-b").begin()
    assert past.complete == model(3)
    assert len(slots(store)) == 2


def test_another_recipe_completed_here_occupies_the_path(store: Store) -> None:
    done = ledger(store, 1)
    done.begin()
    done.complete(model(1))
    with pytest.raises(OutputOccupied, match=r"spec.output.store.path"):
        ledger(store, 1, recipe=OTHER_RECIPE, owner="uid-b").begin()


def test_another_recipe_does_not_take_a_path_with_checkpoints(store: Store) -> None:
    """A specification that was copied with its output must not cost the first one's work."""
    first = ledger(store, 5)
    first.begin()
    first.append_checkpoint(checkpoint(10))
    before = slots(store)
    for owner in ("uid-b", "uid-a"):
        copied = ledger(store, 6, owner=owner, recipe=OTHER_RECIPE)
        with pytest.raises(OutputOccupied, match=r"step 10; choose another spec.output.store.path"):
            copied.begin()
    assert slots(store) == before
    first.append_checkpoint(checkpoint(20))
    assert [entry.step for entry in ledger(store, 6).begin().checkpoints] == [20, 10]


def test_a_new_owner_ends_one_of_another_recipe_that_has_nothing_yet(store: Store) -> None:
    old = ledger(store, 5)
    old.begin()
    new = ledger(store, 1, owner="uid-b", recipe=OTHER_RECIPE)
    assert new.begin().checkpoints == []
    with pytest.raises(OutputOccupied):
        old.append_checkpoint(checkpoint(20))
    new.append_checkpoint(checkpoint(1))


def test_a_new_owner_of_the_same_recipe_goes_on_from_its_checkpoints(store: Store) -> None:
    old = ledger(store, 5)
    old.begin()
    old.append_checkpoint(checkpoint(10))
    new = ledger(store, 1, owner="uid-b")
    assert [entry.step for entry in new.begin().checkpoints] == [10]
    with pytest.raises(OutputOccupied):
        old.append_checkpoint(checkpoint(20))
    new.append_checkpoint(checkpoint(11))


def test_of_racing_attempts_the_newest_always_wins(store: Store) -> None:
    def race(attempt: int) -> int | None:
        mine = ledger(store, attempt)
        try:
            mine.begin()
            mine.append_checkpoint(checkpoint(attempt))
            mine.append_checkpoint(checkpoint(attempt + 100))
        except Fenced:
            return None
        return attempt

    with ThreadPoolExecutor(6) as executor:
        finished = list(executor.map(race, range(1, 7)))
    assert finished[-1] == 6
    past = ledger(store, 7).begin()
    assert [entry.step for entry in past.checkpoints][:2] == [106, 6]
    entries = slots(store)
    holders = [entry.attempt for entry in entries if entry.kind == "attempt"]
    assert holders == sorted(set(holders))


def test_one_attempt_in_two_pods_begins_once(store: Store) -> None:
    def begin(_: int) -> bool:
        try:
            ledger(store, 1).begin()
        except Fenced:
            return False
        return True

    with ThreadPoolExecutor(6) as executor:
        assert sum(executor.map(begin, range(6))) == 1


def test_a_gap_in_the_slots_is_refused(store: Store) -> None:
    ledger(store, 1).begin()
    store.put("job/ledger/00000002.json", b"{}")
    with pytest.raises(DigestMismatch, match="gap"):
        ledger(store, 2).begin()


def test_a_checkpoint_whose_answer_was_lost_is_not_published_twice(store: Store) -> None:
    mine = ledger(store, 1)
    mine.begin()
    entry = LedgerEntry(
        kind="checkpoint", attempt=1, recipe=RECIPE, owner_uid="uid-a", checkpoint=checkpoint(10)
    )
    store.put("job/ledger/00000001.json", entry.model_dump_json(by_alias=True).encode())
    mine.append_checkpoint(checkpoint(10))
    mine.append_checkpoint(checkpoint(20))
    assert [item.step for item in ledger(store, 2).begin().checkpoints] == [20, 10]
    assert len(slots(store)) == 4


def test_a_checkpoint_whose_entry_got_no_answer_keeps_its_files(
    store: Store, tmp_path: Path
) -> None:
    """The writer takes it for failed and goes on; the ledger names it all the same."""
    lost = iter([Fault.RESET] * REQUEST_ATTEMPTS)

    def judge(request: Request) -> Fault | None:
        asked = request.target.encode() + request.body  # Google's names are in the body
        return next(lost, None) if b"ledger/00000002" in asked.replace(b"%2F", b"/") else None

    with behind(store.location) as (there, proxy):
        proxy.judge = judge
        train(there, "job/", 1, tmp_path, checkpoint_bytes=SMALL_BYTES)
    assert next(lost, None) is None
    seen = published(store, "job/")
    assert seen["checkpoint"].path == "job/checkpoints/a1/step-2/"
    for name, found in seen.items():
        download(store, found.path, found.files, tmp_path / name)
    named = {found.path + file.key for found in seen.values() for file in found.files}
    others = {info.path for info in store.list("job/")} - named
    assert {path for path in others if "ledger" not in path} == {"job/manifest.json"}
