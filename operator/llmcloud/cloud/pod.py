"""The top level of every pod: read the task, serve the report, run, write the outcome, exit.

`run` is the one place that catches everything. It decides nothing: what a failure means is in
`errors`, whether to retry is the operator's.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from llmcloud.api.base import ApiModel
from llmcloud.api.contract import (
    ENV_TASK,
    REPORT_PORT,
    TASK,
    DatasetTask,
    DeleteStoreTask,
    ExitCode,
    FetchTask,
    Outcome,
    Progress,
    ProvisionTask,
    RoomTask,
    TrainingTask,
)
from llmcloud.cloud import outcome as outcomes
from llmcloud.cloud.authorities import trust_authorities
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud.cloud.outcome import Interrupted
from llmcloud.cloud.report import Report

ENV_REPORT_PORT: Final = "LLMCLOUD_REPORT_PORT"
TASK_BYTES: Final = 1024 * 1024

log = logging.getLogger(__name__)


def run(kinds: tuple[type[ApiModel], ...], work: Callable[[Any, Report], Outcome]) -> int:
    """Run the task of the environment, if it is one of `kinds`; returns the exit code.

    SIGTERM raises `Interrupted` in the main thread, which ends as Preempted; `work` may install
    its own handler. After an interruption the process ends at once: threads may hang in I/O.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    signal.signal(signal.SIGTERM, _interrupt)
    report: Report | None = None
    task: ApiModel | None = None
    try:
        task = given_task(kinds)
        attempt = task.attempt if isinstance(task, DatasetTask | TrainingTask) else 0
        port = int(os.environ.get(ENV_REPORT_PORT, REPORT_PORT))
        report = Report(Progress(attempt=attempt), port)
        trust_authorities()
        result = work(task, report)
    except BaseException as error:
        result = outcomes.failure(error)
        traceback.print_exc(file=sys.stderr)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if report is not None and isinstance(task, TrainingTask):
        result = result.model_copy(update={"progress": report.progress})
    outcomes.write(result)
    log.info("%s: %s", result.reason, result.message or "done")
    code = outcomes.exit_code(result)
    if code == ExitCode.INTERRUPTED:
        logging.shutdown()
        os._exit(code)
    if report is not None:
        report.close()
    return code


def run_store_task() -> int:
    """`llmcloud task`: provisions, deletes or fetches, as the environment says."""
    return run((ProvisionTask, DeleteStoreTask, FetchTask, RoomTask), _store_work)


def _store_work(
    task: ProvisionTask | DeleteStoreTask | FetchTask | RoomTask, report: Report
) -> Outcome:
    from llmcloud.cloud.fetch import fetch
    from llmcloud.cloud.provision import provision
    from llmcloud.cloud.remove import remove

    match task:
        case ProvisionTask():
            return provision(task)
        case DeleteStoreTask():
            return remove(task)
        case FetchTask():
            return fetch(task)
        case RoomTask():
            while True:
                signal.pause()


def given_task(kinds: tuple[type[ApiModel], ...]) -> ApiModel:
    """The task of the environment. Raises ConfigurationInvalid, ValidationError."""
    text = os.environ.get(ENV_TASK, "")
    if not text:
        raise ConfigurationInvalid(
            f"The environment has no {ENV_TASK}: start this by the operator."
        )
    if len(text) > TASK_BYTES:
        raise ConfigurationInvalid(f"{ENV_TASK} is larger than {TASK_BYTES} bytes.")
    task = TASK.validate_json(text)
    if not isinstance(task, kinds):
        raise ConfigurationInvalid(f"This image does not do tasks of kind {task.kind}.")
    return task


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise Interrupted
