"""How an attempt ends from outside its main thread: asked by a signal, alone, or stuck."""

import logging
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from llmcloud.api.contract import TrainingTask
from llmcloud.api.names import Reason
from llmcloud.cloud import outcome as outcomes
from llmcloud.cloud.base import open_store
from llmcloud.cloud.errors import TaskError
from llmcloud_runtime.errors import Hung
from llmcloud_runtime.group import Group
from llmcloud_runtime.hang import HangWatch, stacks
from llmcloud_runtime.progress import Live

KEPT_LINES = 200
"""Of the log, when an attempt crashes."""

log = logging.getLogger(__name__)


def end_now(error: TaskError, live: Live, leave: Callable[[], None] = lambda: None) -> None:
    """End the process from a thread: the main one may wait for ever. `leave` may fail."""
    outcome = outcomes.failure(error).model_copy(update={"progress": live.progress})
    outcomes.write(outcome)
    with suppress(TaskError):
        leave()
    logging.shutdown()
    os._exit(outcomes.exit_code(outcome))


def hang_watch(task: TrainingTask, group: Group, live: Live) -> HangWatch:
    """Ends an attempt that makes no step any more; its stacks outlive it in the store."""

    def hung(waited_seconds: float) -> None:
        text, store = stacks(), open_store(task.output)
        path = f"{task.output_path}logs/a{task.attempt}/stacks-{group.rank}.txt"
        log.error("No step for %.0f s:\n%s", waited_seconds, text)
        error = Hung(
            f"Training made no step for {waited_seconds:.0f} s; what every thread was doing is in "
            f"{store.url(path)}. The next attempt goes on from the last checkpoint."
        )

        def keep() -> None:
            store.put(path, text.encode())

        end_now(error, live, keep)

    return HangWatch(hung)


class _LastLines(logging.Handler):
    """Remembers the end of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def last_lines_kept(task: TrainingTask, rank: int) -> Iterator[None]:
    """The pod goes when the next attempt starts: of a crash the end of the log and the traceback
    stay in the store, below `logs/`. Such an error becomes a TaskError that says where."""
    kept = _LastLines()
    logging.getLogger().addHandler(kept)
    try:
        yield
    except Exception as error:
        if isinstance(error, TaskError) or outcomes.failure(error).reason is not Reason.CRASHED:
            raise
        text = "\n".join([*kept.lines, traceback.format_exc()])
        path = f"{task.output_path}logs/a{task.attempt}/log-{rank}.txt"
        try:
            store = open_store(task.output)
            store.put(path, text.encode())
        except TaskError:
            raise error from None
        raise TaskError(
            f"The pod stopped with {type(error).__name__}; the end of its log, with the traceback, "
            f"is in {store.url(path)}.",
            reason=Reason.CRASHED,
        ) from error
    finally:
        logging.getLogger().removeHandler(kept)


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """While training, SIGTERM does not interrupt but asks: the current step is finished."""
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
