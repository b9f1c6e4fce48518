"""Who refers to whom, as last observed; so that a change of the one wakes the other."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class References(Generic[T]):
    """A relation that is replaced as a whole for each referrer."""

    def __init__(self) -> None:
        self._targets: dict[T, frozenset[T]] = {}
        self._referrers: dict[T, set[T]] = {}

    def note(self, referrer: T, targets: Iterable[T]) -> None:
        """`referrer` refers to exactly `targets` from now on."""
        new = frozenset(targets)
        for target in self._targets.pop(referrer, frozenset()) - new:
            self._referrers[target].discard(referrer)
            if not self._referrers[target]:
                del self._referrers[target]
        for target in new:
            self._referrers.setdefault(target, set()).add(referrer)
        if new:
            self._targets[referrer] = new

    def referrers(self, target: T) -> tuple[T, ...]:
        """All that refer to `target`."""
        return tuple(self._referrers.get(target, ()))
