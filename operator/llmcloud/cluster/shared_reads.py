"""Many who ask for the same object at once are answered by one request."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedReads(Generic[T]):
    """Of each key, one read is under way at most; who asks meanwhile shares the next.

    Nobody gets an answer to a request that was sent before they asked: it may be older than the
    event that made them ask.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[T]] = {}
        self._next: dict[Hashable, asyncio.Task[T]] = {}

    async def read(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """What `read`, or the `read` of another who asked for `key`, returns. Raises what it
        raises."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._read(key, read, self._under_way.get(key)))
            self._next[key] = task
        return await asyncio.shield(task)

    async def _read(
        self, key: Hashable, read: Callable[[], Awaitable[T]], before: asyncio.Task[T] | None
    ) -> T:
        if before is not None:
            await asyncio.wait([before])
        task = self._under_way[key] = self._next.pop(key)
        try:
            return await read()
        finally:
            if self._under_way.get(key) is task:
                del self._under_way[key]
