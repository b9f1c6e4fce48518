"""Signs of life: who does a unit of work that takes long says so in the store, again and again.

No clocks are compared. A sign is an object that changes, and what counts is when who waits has
seen it change; so a worker that was killed is silent from the next look on, whatever it left.
"""

import logging
from collections.abc import Iterable
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from llmcloud.cloud.base import ObjectInfo, Store
from llmcloud.cloud.errors import StoreError

BEATS: Final = "beats/"
BEATS_IN_PATIENCE: Final = 3

log = logging.getLogger(__name__)


class Beat:
    """Tells of a unit while it is done, from the first interval on, or `at_once`.

    A sign that cannot be written costs the unit nothing.
    """

    def __init__(self, store: Store, path: str, patience_seconds: float, *, at_once: bool) -> None:
        self._store = store
        self._path = path
        self._interval_seconds = patience_seconds / BEATS_IN_PATIENCE
        self._at_once = at_once
        self._ended = Event()
        self._told = False
        self._thread = Thread(target=self._tell, name="beat", daemon=True)

    def __enter__(self) -> Self:
        if self._interval_seconds:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._interval_seconds:
            self._thread.join()
        if self._told:
            try:
                self._store.delete(self._path)
            except StoreError as left:
                log.info("%s stays: %s", self._path, left)

    def _tell(self) -> None:
        if not self._at_once:
            self._ended.wait(self._interval_seconds)
        while not self._ended.is_set():
            try:
                self._told = True
                self._store.put(self._path, uuid4().bytes)
            except StoreError as error:
                log.info("No sign of life could be left: %s", error)
            self._ended.wait(self._interval_seconds)


class Signs:
    """What one worker has seen of the others' beats below `folder`."""

    def __init__(self, folder: str, index: int, patience_seconds: float) -> None:
        self.folder = folder
        self._own = f"{index}/"
        self._patience_seconds = patience_seconds
        self._seen: dict[str, tuple[str, float]] = {}

    def path(self, unit: str) -> str:
        """Where this worker tells of a unit."""
        return f"{self.folder}{self._own}{unit}"

    def look(self, found: Iterable[ObjectInfo], now: float) -> None:
        """Take note of what lies below the folder, at `now` in seconds of any clock."""
        for info in found:
            name = info.path.removeprefix(self.folder)
            if not name.startswith(self._own) and self._etag(name) != info.etag:
                self._seen[name] = (info.etag, now)

    def under_way(self, now: float) -> set[str]:
        """Units of which another worker has told not too long ago."""
        since = now - self._patience_seconds
        return {name.partition("/")[2] for name, (_, when) in self._seen.items() if when > since}

    def _etag(self, name: str) -> str | None:
        return self._seen[name][0] if name in self._seen else None
