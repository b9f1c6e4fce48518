"""Stop strings as OpenAI means them: what is generated ends before the first of them.

Pure. transformers ends a generation once a stop string is complete, and leaves it in the text.
"""

from collections.abc import Sequence


def before_stop(text: str, stops: Sequence[str]) -> str:
    """`text` up to where the first stop string begins."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


class StopFilter:
    """Passes a stream of text on, but no part of a stop string.

    What may be a stop string's beginning is held back until it is clear.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._stopped = False

    def feed(self, text: str) -> str:
        """What may be passed on now; nothing more after a stop string."""
        if self._stopped:
            return ""
        self._held += text
        kept = before_stop(self._held, self._stops)
        if kept != self._held:
            self._stopped, self._held = True, ""
            return kept
        passed = len(self._held) - self._possible_beginning()
        text, self._held = self._held[:passed], self._held[passed:]
        return text

    def end(self) -> str:
        """What was held back and turned out to be no stop string."""
        text, self._held = self._held, ""
        return text

    def _possible_beginning(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
