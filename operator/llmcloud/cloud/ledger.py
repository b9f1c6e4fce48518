"""A job's ledger: which attempt holds the job, which checkpoints are durable, what is complete.

Slots are created only if absent and in order, so the slots alone decide (see
`contract.LedgerEntry`). Reading never trusts a single slot: an entry counts only if the attempt
that wrote it held the job at that point. So an older attempt that slips an entry in, on a store
whose conditional create is not atomic, has written what nobody reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ValidationError

from llmcloud.api.contract import CheckpointEntry, LedgerEntry, ModelManifest
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import AlreadyExists, DigestMismatch, Fenced, OutputOccupied
from llmcloud.cloud.parallel import in_parallel

SLOTS_LIMIT: Final = 100_000


@dataclass(frozen=True, slots=True)
class History:
    """What a ledger says. Only what was written by the holder of its time is in it."""

    holder: LedgerEntry | None
    checkpoints: list[CheckpointEntry]
    """Durable checkpoints of one recipe, the newest first."""
    complete: ModelManifest | None
    foreign: CheckpointEntry | None = None
    """The holder's newest durable checkpoint, where the holder has another recipe."""


def history(entries: Iterable[LedgerEntry], recipe: str) -> History:
    """Read slots in order. Raises OutputOccupied if another recipe was completed there."""
    holder: LedgerEntry | None = None
    checkpoints: list[CheckpointEntry] = []
    complete: ModelManifest | None = None
    durable: LedgerEntry | None = None
    for entry in entries:
        if not _may_follow(entry, holder):
            continue
        holder = entry
        if entry.model is not None and entry.recipe != recipe:
            raise OutputOccupied(
                "The output path holds the model of another specification "
                f"(attempt {entry.attempt}); choose another spec.output.store.path."
            )
        if entry.checkpoint is not None:
            durable = entry
            if entry.recipe == recipe:
                checkpoints.insert(0, entry.checkpoint)
        complete = entry.model or complete
    foreign = None
    if holder is not None and durable is not None and recipe != holder.recipe == durable.recipe:
        foreign = durable.checkpoint
    return History(holder, checkpoints, complete, foreign)


def _may_follow(entry: LedgerEntry, holder: LedgerEntry | None) -> bool:
    """The holder's own entries, a later attempt of the same owner, another owner's new attempt."""
    if holder is None:
        return True
    if entry.owner_uid == holder.owner_uid:
        return entry.attempt >= holder.attempt
    return entry.kind == "attempt"


class Ledger:
    """The ledger of one attempt. Used by one thread at a time.

    `path` is the job's output path; slots are `<path>ledger/<8 digits>.json`.
    """

    def __init__(
        self, store: Store, path: str, *, attempt: int, recipe: str, owner_uid: str
    ) -> None:
        self._store = store
        self._folder = f"{path}ledger/"
        self._attempt = attempt
        self._recipe = recipe
        self._owner_uid = owner_uid
        self._next_slot = 0

    def begin(self) -> History:
        """Take the job: the next slot gets this attempt. Returns what came before.

        If the recipe is complete already, no slot is taken. Raises Fenced if this attempt or a
        newer one has begun before, OutputOccupied if another recipe was completed here, or has
        checkpoints that would be lost.
        """
        while True:
            entries = self._read()
            past = history(entries, self._recipe)
            if past.complete is not None:
                return past
            holder = past.holder
            same_owner = holder is not None and holder.owner_uid == self._owner_uid
            if holder is not None and same_owner and holder.attempt >= self._attempt:
                raise self._fenced(holder)
            if past.foreign is not None:
                raise OutputOccupied(
                    f"{self._store.url(self._folder)} belongs to the training of another "
                    f"specification, which has a checkpoint of step {past.foreign.step}; choose "
                    "another spec.output.store.path, or delete what is there if nobody needs it."
                )
            self._next_slot = len(entries)
            if self._create(self._entry("attempt")):
                return past

    def append_checkpoint(self, checkpoint: CheckpointEntry) -> None:
        """Make a checkpoint durable; its files must be in the store. Raises Fenced."""
        self._append(self._entry("checkpoint", checkpoint=checkpoint))

    def complete(self, model: ModelManifest) -> None:
        """Record the finished model; its files must be in the store. Raises Fenced."""
        self._append(self._entry("complete", model=model))

    def _append(self, entry: LedgerEntry) -> None:
        assert self._next_slot > 0, "begin() comes first"
        while not self._create(entry):
            found = self._read_slot(self._slot(self._next_slot))
            if found.owner_uid != self._owner_uid:
                # Never retried: two jobs that take the path from each other would never end.
                raise OutputOccupied(
                    f"Another job took {self._store.url(self._folder)}; choose another "
                    "spec.output.store.path."
                )
            if found.attempt > self._attempt:
                raise self._fenced(found)
            # An older attempt slipped in, which nobody reads; or ours, whose answer was lost.
            self._next_slot += 1
            if found == entry:
                return

    def _create(self, entry: LedgerEntry) -> bool:
        body = entry.model_dump_json(by_alias=True, exclude_none=True).encode()
        try:
            self._store.put(self._slot(self._next_slot), body, if_absent=True)
        except AlreadyExists:
            return False
        self._next_slot += 1
        return True

    def _read(self) -> list[LedgerEntry]:
        slots: list[str] = []
        for info in self._store.list(self._folder):
            if info.path != self._slot(len(slots)) or len(slots) >= SLOTS_LIMIT:
                raise DigestMismatch(
                    f"The ledger {self._store.url(self._folder)} has a gap or a stranger at "
                    f"{info.path}; restore it, or choose another output path."
                )
            slots.append(info.path)
        return list(in_parallel(self._read_slot, slots))

    def _read_slot(self, path: str) -> LedgerEntry:
        try:
            return LedgerEntry.model_validate_json(self._store.get(path))
        except ValidationError:
            raise DigestMismatch(
                f"{self._store.url(path)} is no entry of a ledger; restore it, or choose another "
                "output path."
            ) from None

    def _slot(self, number: int) -> str:
        return f"{self._folder}{number:08d}.json"

    def _entry(
        self,
        kind: Literal["attempt", "checkpoint", "complete"],
        *,
        checkpoint: CheckpointEntry | None = None,
        model: ModelManifest | None = None,
    ) -> LedgerEntry:
        return LedgerEntry(
            kind=kind,
            attempt=self._attempt,
            recipe=self._recipe,
            owner_uid=self._owner_uid,
            checkpoint=checkpoint,
            model=model,
        )

    def _fenced(self, by: LedgerEntry) -> Fenced:
        return Fenced(
            f"Attempt {self._attempt} is fenced: attempt {by.attempt} of owner {by.owner_uid} "
            f"holds {self._store.url(self._folder)}."
        )
