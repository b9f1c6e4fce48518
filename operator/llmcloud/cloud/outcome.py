"""How a pod ends: its `Outcome`, trimmed to fit the termination message, and its exit code."""

import errno
import os
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from llmcloud.api.contract import (
    TERMINATION_LOG,
    TERMINATION_MESSAGE_BYTES,
    ExitCode,
    Outcome,
    Retry,
)
from llmcloud.api.names import Reason
from llmcloud.cloud.errors import TaskError

ENV_TERMINATION_LOG: Final = "LLMCLOUD_TERMINATION_LOG"
MESSAGE_CHARACTERS: Final = 1024


class Interrupted(BaseException):
    """SIGTERM came. Not an Exception: nothing but the pod's top level may swallow it."""


def failure(error: BaseException) -> Outcome:
    """The outcome of an exception.

    The text of an unknown exception stays in the pod's log: it may hold anything.
    """
    match error:
        case TaskError():
            reason, message, retry = error.reason, str(error), error.retry
        case Interrupted():
            reason, retry = Reason.PREEMPTED, Retry.ENVIRONMENT
            message = "The pod was asked to stop before it had finished; it is started again."
        case ValidationError():
            reason, retry = Reason.CONFIGURATION_INVALID, Retry.NEVER
            message = f"The task or a stored document is invalid: {_fields(error)}."
        case MemoryError():
            reason, retry = Reason.OUT_OF_MEMORY, Retry.USER
            message = "The pod ran out of memory; raise spec.resources.memory."
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason, retry = Reason.DISK_FULL, Retry.USER
            message = (
                f"No space left for {error.filename or 'the scratch files'}; raise "
                "spec.pod.scratch.size or spec.resources.ephemeralStorage."
            )
        case _:
            reason, retry = Reason.CRASHED, Retry.USER
            message = f"The pod stopped with {type(error).__name__}; its log has the traceback."
    return Outcome(
        succeeded=False, reason=reason, message=message[:MESSAGE_CHARACTERS], retry=retry
    )


def exit_code(outcome: Outcome) -> int:
    if outcome.succeeded:
        return ExitCode.OK
    if outcome.reason is Reason.PREEMPTED:
        return ExitCode.INTERRUPTED
    return ExitCode.CONFIGURATION if outcome.retry is Retry.NEVER else ExitCode.FAILED


def encoded(outcome: Outcome) -> bytes:
    """The JSON of an outcome; what is in the store as well is left out until it fits."""
    while len(body := _json(outcome)) > TERMINATION_MESSAGE_BYTES:
        outcome = _shorter(outcome)
    return body


def _json(outcome: Outcome) -> bytes:
    return outcome.model_dump_json(by_alias=True, exclude_none=True).encode()


def _shorter(outcome: Outcome) -> Outcome:
    """Without that which is missed least: of a model's report the groups, then the baselines, then
    half of the message, then the progress, at last the metrics."""
    result = outcome.training
    for member in ("groups", "baselines"):
        if result is not None and getattr(result, member):
            return outcome.model_copy(update={"training": result.model_copy(update={member: []})})
    if outcome.message:
        half = outcome.message[: len(outcome.message) // 2]
        return outcome.model_copy(update={"message": half})
    if outcome.progress is not None:
        return outcome.model_copy(update={"progress": None})
    if result is not None and result.metrics:
        return outcome.model_copy(update={"training": result.model_copy(update={"metrics": []})})
    raise ValueError(f"an outcome of {len(_json(outcome))} bytes fits no termination message")


def write(outcome: Outcome) -> None:
    """Write the termination message."""
    path = Path(os.environ.get(ENV_TERMINATION_LOG, TERMINATION_LOG))
    path.write_bytes(encoded(outcome))


def _fields(error: ValidationError) -> str:
    """Where validation failed, without the values."""
    places = [
        f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "; ".join(places[:5])
