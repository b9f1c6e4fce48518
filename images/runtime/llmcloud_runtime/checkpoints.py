"""Durable checkpoints: uploaded in the background, recorded in the ledger, restored from there.

A checkpoint exists once the ledger names it. Training goes on while one is written and uploaded;
there is never more than one on the way. Every rank uploads its own files; rank 0 names them all
in the ledger. What is in the files is `snapshot`'s affair.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pydantic import TypeAdapter

from llmcloud.api.contract import CheckpointEntry, CheckpointStatus, FileEntry
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import DigestMismatch, ObjectNotFound, StoreError, StoreUnreachable
from llmcloud.cloud.ledger import Ledger
from llmcloud.cloud.manifest import download, upload_files
from llmcloud_runtime.group import Group

FOLDER = "checkpoints/"
MODELS = "model/"
FILES: TypeAdapter[list[FileEntry]] = TypeAdapter(list[FileEntry])

FAILED = "failed"

log = logging.getLogger(__name__)


class Written(Protocol):
    """A checkpoint of this rank that is being written to its disk."""

    @property
    def step(self) -> int: ...

    @property
    def folder(self) -> Path: ...

    def files(self) -> list[Path]:
        """Wait for this rank's files."""
        ...


class CheckpointWriter:
    """Makes checkpoints durable, one at a time, in a thread of its own.

    `durable`: entries that are in the ledger already, the newest first.
    `on_durable` is called in that thread after each one. `productive_seconds` tells how long the
    steps took that led to a step.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        output_path: str,
        *,
        attempt: int,
        keep: int,
        durable: Sequence[CheckpointEntry],
        on_durable: Callable[[CheckpointStatus], None],
        productive_seconds: Callable[[int], int],
        group: Group,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._output_path = output_path
        self._attempt = attempt
        self._keep = keep
        # Whatever is older was deleted by the attempt that wrote the one after.
        self._durable = list(durable[: keep + 1])
        self._uploaded: list[CheckpointEntry] = []
        self._on_durable = on_durable
        self._productive_seconds = productive_seconds
        self._group = group
        self._meeting: Any = group.store.clone() if group.store is not None else None
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the upload that is on the way; its failure counts unless there is another.

        What failed to become durable, or to be deleted, goes before there is a model: no other
        attempt comes after that.
        """
        if error is not None:
            self._wait()
            return
        self.finish()
        if self._group.leads:
            self._record()
            self.sweep()

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def submit(self, written: Written) -> None:
        """Upload the checkpoint; waits for the one before."""
        self.finish()
        self._thread = threading.Thread(
            target=self._upload_or_keep_failure, args=(written,), name="checkpoint"
        )
        self._thread.start()

    def finish(self) -> None:
        """Wait for the upload that is on the way. Raises what stopped it."""
        self._wait()
        self.check()

    def check(self) -> None:
        """Raise what stopped the last upload. A store that could not be asked is no reason to
        stop: the next checkpoint will try again."""
        failure, self._failure = self._failure, None
        if isinstance(failure, StoreError):
            log.warning("A checkpoint did not become durable: %s", failure)
        elif failure is not None:
            raise failure

    def sweep(self) -> None:
        """Delete what no entry names. Whoever uploaded it is fenced, or this very writer."""
        kept = tuple(self._output_path + entry.path for entry in self._durable)
        for folder in (FOLDER, MODELS):
            self._store.abandon_uploads(self._output_path + folder)
            for found in self._store.list(self._output_path + folder):
                if not found.path.startswith(kept):
                    self._store.delete(found.path)

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _upload_or_keep_failure(self, written: Written) -> None:
        try:
            self._upload(written)
        except Exception as failure:  # the top of a thread: `check` raises it where it is seen
            self._failure = failure
            self._tell(written.step, _parts(written.step, self._group.rank), FAILED)
        finally:  # also when the store is away: checkpoints must not fill the scratch disk
            shutil.rmtree(written.folder, ignore_errors=True)

    def _upload(self, written: Written) -> None:
        path = f"{FOLDER}a{self._attempt}/step-{written.step}/"
        own = upload_files(self._store, written.folder, written.files(), self._output_path + path)
        if not self._group.leads:
            self._tell(
                written.step,
                _parts(written.step, self._group.rank),
                FILES.dump_json(own, by_alias=True).decode(),
            )
            self._await_ledger(written.step)
            return
        files = sorted([*own, *self._others(written.step)], key=lambda entry: entry.key)
        entry = CheckpointEntry(
            step=written.step,
            path=path,
            files=files,
            bytes=sum(file.bytes for file in files),
            time=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            productive_seconds=self._productive_seconds(written.step),
        )
        self._uploaded.append(entry)
        self._record()

    def _record(self) -> None:
        """Name in the ledger what is uploaded. An entry whose answer was lost may be there: it is
        tried again before all else, so that no entry is without its files."""
        while self._uploaded:
            entry = self._uploaded[0]
            self._ledger.append_checkpoint(entry)
            del self._uploaded[0]
            self._tell(entry.step, _ledger(entry.step), "durable")
            self._on_durable(status_of(entry, self._store, self._output_path))
            self._durable.insert(0, entry)
        while len(self._durable) > self._keep:
            self._delete(self._durable.pop())

    def _tell(self, step: int, key: str, text: str) -> None:
        """Leave word for the other ranks; a failure of rank 0 is told where they wait."""
        if self._meeting is None:
            return
        if self._group.leads and text == FAILED:
            key = _ledger(step)
        self._meeting.set(key, text)

    def _others(self, step: int) -> list[FileEntry]:
        """The files of all other ranks, once they are in the store."""
        found: list[FileEntry] = []
        for rank in range(1, self._group.ranks):
            text = self._meeting.get(_parts(step, rank)).decode()
            if text == FAILED:
                raise StoreUnreachable(f"Rank {rank} could not upload its part of step {step}.")
            found += FILES.validate_json(text)
        return found

    def _await_ledger(self, step: int) -> None:
        """A rank's part counts only when rank 0 has named it."""
        if self._meeting.get(_ledger(step)).decode() == FAILED:
            raise StoreUnreachable(f"The checkpoint of step {step} did not become durable.")

    def _delete(self, entry: CheckpointEntry) -> None:
        for file in entry.files:
            self._store.delete(self._output_path + entry.path + file.key)


def _parts(step: int, rank: int) -> str:
    return f"checkpoint/{step}/{rank}"


def _ledger(step: int) -> str:
    return f"checkpoint/{step}/ledger"


def status_of(entry: CheckpointEntry, store: Store, output_path: str) -> CheckpointStatus:
    """A checkpoint as users see it."""
    return CheckpointStatus(
        step=entry.step,
        url=store.url(output_path + entry.path),
        time=entry.time,
        bytes=entry.bytes,
    )


def restore(
    store: Store,
    output_path: str,
    checkpoints: Sequence[CheckpointEntry],
    folder: Path,
    aside: list[CheckpointEntry] | None = None,
) -> tuple[CheckpointEntry, Path] | None:
    """Download the newest checkpoint whose every digest holds; None if there is none.

    `checkpoints`: the newest first, as the ledger names them. `aside` gets those that are corrupt
    or gone.
    """
    for entry in checkpoints:
        target = folder / f"step-{entry.step}"
        try:
            download(store, output_path + entry.path, entry.files, target)
        except (DigestMismatch, ObjectNotFound) as error:
            log.warning("Checkpoint of step %d is left aside: %s", entry.step, error)
            shutil.rmtree(target, ignore_errors=True)
            if aside is not None:
                aside.append(entry)
            continue
        return entry, target
    return None
