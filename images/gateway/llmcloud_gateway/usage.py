"""Counts tokens of a response as it passes, without parsing it.

The engine's own `usage` is taken where one is seen near the end, which is where engines put it.
Without one, the events of a stream stand for its output tokens. A quoted `usage` inside generated
text has its quotes escaped and does not match.
"""

import re

_TAIL_BYTES = 1024
_TOKENS = re.compile(rb'"(prompt|completion)_tokens"\s*:\s*(\d{1,12})')


class Usage:
    """Feed it the body's bytes; read `tokens()` at the end."""

    __slots__ = ("_events", "_tail", "told")

    def __init__(self) -> None:
        self._events = 0
        self._tail = b""
        self.told = False
        """Whether the engine gave its usage; known after `tokens`."""

    def feed(self, data: bytes) -> None:
        self._events += data.count(b"data: {")
        if len(data) < _TAIL_BYTES:
            data = self._tail + data
        self._tail = data[-_TAIL_BYTES:]

    def tokens(self) -> tuple[int, int]:
        """(input tokens, output tokens)."""
        counts: dict[bytes, int] = {
            kind: int(number) for kind, number in _TOKENS.findall(self._tail)
        }
        self.told = b"prompt" in counts
        return counts.get(b"prompt", 0), counts.get(b"completion", self._events)
