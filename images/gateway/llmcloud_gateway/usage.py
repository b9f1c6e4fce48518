"""Counts tokens of a response as it passes, without parsing it.

The engine's own `usage` is taken where one is seen near the end, which is where engines put it.
Without one, the events of a stream stand for its output tokens. A quoted `usage` inside generated
text has its quotes escaped and does not match.
"""

import re

_TAIL_BYTES = 1024
_MOST_HELD_BYTES = 64 << 10
_NO_CHOICES = re.compile(rb'"choices": ?\[\]')
_USAGE = re.compile(rb'"usage": ?\{')
_GAPS = (b"\n\n", b"\r\n\r\n")
_GAP = re.compile(rb"(\r?\n\r?\n)")
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


class WithoutUsage:
    """A stream without the event of nothing but the usage, which its client did not ask for.

    Feed it the stream's bytes and pass on what it gives back. An event that came in part waits for
    its rest, unless it is larger than such an event can be.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        if not self._held and data.endswith(b"\n\n") and not _NO_CHOICES.search(data):
            return data  # as almost always
        data = self._held + data
        end = max(data.rfind(gap) + len(gap) if gap in data else 0 for gap in _GAPS)
        if len(data) - end > _MOST_HELD_BYTES:
            end = len(data)
        self._held = data[end:]
        pieces = _GAP.split(data[:end])
        events = zip(pieces[::2], [*pieces[1::2], b""], strict=True)
        return b"".join(event + gap for event, gap in events if not _tells_only_usage(event))

    def end(self) -> bytes:
        """What is left when the stream has ended."""
        return self._held


def _tells_only_usage(event: bytes) -> bool:
    return bool(_NO_CHOICES.search(event) and _USAGE.search(event))
