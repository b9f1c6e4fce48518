"""Work that several workers share through the store alone.

A unit of work has a name and gives the same result whoever does it. Its result becomes visible
by one conditional write, after the files that it names, and what is there is never done again,
by whatever worker or attempt. So nobody hands out work, nobody waits for a worker that is gone
(`beats` tell of those that are not), and one worker alone comes to the end as well: it is only
later there.
"""

import logging
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from llmcloud.api.base import ApiModel
from llmcloud.api.contract import FileEntry
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import AlreadyExists, DigestMismatch, ObjectChanged, ObjectNotFound
from llmcloud.cloud.manifest import encoded, read_manifest, sha256_of
from llmcloud.cloud.parallel import in_parallel
from llmcloud_data.beats import BEATS, Beat, Signs

PATIENCE_SECONDS: Final = 30.0
"""A unit of another is done too if for so long none of the others' came, nor a sign that somebody
does it."""
LOOK_SECONDS: Final = 2.0
READS: Final = 3
DIGEST_CHARACTERS: Final = 16
PUBLISHED: Final = "published.json"
"""What is left in the folder of work when everything is published."""

log = logging.getLogger(__name__)
Result = TypeVar("Result", bound=ApiModel)


class Published(Exception):
    """Nothing is left to do; `version` is there."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


@dataclass(frozen=True, slots=True)
class Worker:
    """Which of how many workers this is, from 0."""

    index: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work: its name among the results, and what does it."""

    name: str
    make: Callable[[], ApiModel]


class _Mark(ApiModel):
    """What is left when everything is published."""

    version: str


class Work:
    """The work below `folder` of a store, as one worker sees it."""

    def __init__(
        self,
        store: Store,
        folder: str,
        worker: Worker,
        patience_seconds: float = PATIENCE_SECONDS,
        mark: str | None = None,
    ) -> None:
        """`mark`: where it is said that everything is published, if not in the same folder."""
        self._store = store
        self._folder = folder
        self._worker = worker
        self._patience_seconds = patience_seconds
        self.mark = mark or folder + PUBLISHED
        self._signs = Signs(folder + BEATS, worker.index, patience_seconds)

    def results(
        self, units: Sequence[Unit], shape: type[Result], advance: Callable[[int], None]
    ) -> list[Result]:
        """The results of all units in order, when all are there; `advance` hears of each.

        Raises Published if there is nothing left to do.
        """
        index, count = self._worker.index, self._worker.count
        mine = list(units[index::count])
        others = [unit for place, unit in enumerate(units) if place % count != index]
        turn = len(others) * index // count
        waiting = {unit.name: unit for unit in [*mine, *others[turn:], *others[:turn]]}
        own = {unit.name for unit in mine}
        patience_ends = time.monotonic() + self._patience_seconds
        while True:
            there = self._there() & waiting.keys()
            for name in there:
                del waiting[name]
                advance(1)
            if not waiting:
                break
            now = time.monotonic()
            if there - own:
                patience_ends = now + self._patience_seconds
            free: Set[str] = own if now < patience_ends else waiting.keys()
            free = free - self._under_way(now)
            unit = next((unit for unit in waiting.values() if unit.name in free), None)
            if unit is not None:
                self._make(unit, at_once=unit.name not in own)
            else:
                time.sleep(min(LOOK_SECONDS, self._patience_seconds))
        return list(in_parallel(lambda unit: self._result(unit, shape), units))

    def upload(self, file: Path, path: str) -> FileEntry:
        """Write a file to `path`, whose name gets the beginning of its digest, so that nobody's
        bytes replace others. The entry's key is the whole path."""
        sha256 = sha256_of(file)
        folder, slash, name = path.rpartition("/")
        stem, dot, suffix = name.partition(".")
        key = f"{folder}{slash}{stem}-{sha256[:DIGEST_CHARACTERS]}{dot}{suffix}"
        self.put(key, file)
        return FileEntry(key=key, bytes=file.stat().st_size, sha256=sha256)

    def put(self, path: str, file: Path) -> None:
        """Write a file whose path tells its bytes. What is there is left: to write it again would
        disturb whoever reads it."""
        there = self._store.head(path)
        if there is None or there.bytes != file.stat().st_size:
            self._store.put(path, file)

    def keep(self, file: Path, name: str) -> FileEntry:
        """`upload` below the folder of the work."""
        return self.upload(file, f"{self._folder}files/{name}")

    def fetch(self, entry: FileEntry, file: Path) -> Path:
        """Lay down what `upload` wrote, its digest checked."""
        file.parent.mkdir(parents=True, exist_ok=True)
        found = self._read(entry, file)
        if found != entry.sha256:
            raise DigestMismatch(
                f"{self._store.url(entry.key)} is corrupt: its SHA-256 is {found} and not "
                f"{entry.sha256}; remove {self._store.url(self._folder)}."
            )
        return file

    def _read(self, entry: FileEntry, file: Path) -> str:
        """Its digest. Another worker may write the same bytes meanwhile."""
        for _ in range(READS):
            try:
                return self._store.get_file(entry.key, file)
            except ObjectChanged:
                self.check()
        return self._store.get_file(entry.key, file)

    def finish(self, version: str) -> None:
        """Say that `version` is published, and remove all else."""
        self._put(self.mark, _Mark(version=version))
        self.clear()

    def clear(self) -> None:
        """Remove all results and files; results go first."""
        for folder in ("results/", "files/", BEATS):
            paths = [info.path for info in self._store.list(self._folder + folder)]
            for _ in in_parallel(self._store.delete, paths):
                pass

    def require_new(self, version: str, manifest_path: str) -> None:
        """Raises Published if `version` is there: the sources' bytes are the same as when it was
        made, whatever else has changed."""
        if self._store.head(manifest_path) is not None:
            raise Published(version)

    def check(self) -> None:
        """Raises Published if everything is finished."""
        mark = read_manifest(self._store, self.mark, _Mark)
        if mark is not None:
            raise Published(mark.version)

    def _there(self) -> set[str]:
        folder = f"{self._folder}results/"
        names = {
            info.path.removeprefix(folder).removesuffix(".json")
            for info in self._store.list(folder)
        }
        if not names:
            self.check()
        return names

    def _under_way(self, now: float) -> set[str]:
        self._signs.look(self._store.list(self._signs.folder), now)
        return self._signs.under_way(now)

    def _make(self, unit: Unit, *, at_once: bool) -> None:
        """`at_once`: the unit is another's, who is to know."""
        self.check()
        log.info("Worker %d does %s", self._worker.index, unit.name)
        path, patience_seconds = self._signs.path(unit.name), self._patience_seconds
        with Beat(self._store, path, patience_seconds, at_once=at_once):
            self._put(f"{self._folder}results/{unit.name}.json", unit.make())

    def _result(self, unit: Unit, shape: type[Result]) -> Result:
        path = f"{self._folder}results/{unit.name}.json"
        found = read_manifest(self._store, path, shape)
        if found is None:
            raise ObjectNotFound(
                f"{self._store.url(path)} was removed while it was needed; another attempt makes "
                "it anew."
            )
        return found

    def _put(self, path: str, result: ApiModel) -> None:
        body = encoded(result, self._store.url(path))
        try:
            self._store.put(path, body, if_absent=True)
        except AlreadyExists:
            log.info("%s was there first", path)
