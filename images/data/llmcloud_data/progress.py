"""How far a preparation is; the shares of its steps are estimates."""

from collections.abc import Callable
from typing import Final

from llmcloud.api.contract import Progress
from llmcloud.cloud.report import Report

PERCENT_READ: Final = 50
PERCENT_MERGED: Final = 55
PERCENT_TOKENIZER: Final = 60
PERCENT_PACKED: Final = 95


class Percent:
    """Progress of the whole work, published when it changes."""

    def __init__(self, report: Report, attempt: int) -> None:
        self._report = report
        self._attempt = attempt
        self._told = -1
        self.set(0)

    def set(self, percent: float) -> None:
        if int(percent) != self._told:
            self._told = int(percent)
            self._report.publish(
                Progress(phase="Running", attempt=self._attempt, percent=self._told)
            )

    def between(self, start: int, end: int, total: int) -> Callable[[int], None]:
        """Goes from `start` to `end` as it hears of the parts of `total`."""
        done = 0

        def advance(part: int) -> None:
            nonlocal done
            done += part
            self.set(start + (end - start) * done / max(1, total))

        return advance
