"""A pod with several accelerators: one process for each, and one word of them all.

The first rank of the pod has its report port. A SIGTERM reaches every rank, and each ends as it
would alone: a rank that fails does not end the others, which notice and say so. What the pod says
is what the rank said that failed of its own.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from llmcloud.api.contract import CONSEQUENCES, Outcome, TrainingTask
from llmcloud.api.names import Reason
from llmcloud.cloud import outcome as outcomes
from llmcloud.cloud.errors import TaskError
from llmcloud.cloud.outcome import ENV_TERMINATION_LOG, Interrupted
from llmcloud.cloud.pod import ENV_REPORT_PORT, given_task
from llmcloud_runtime.errors import OutOfMemory, PeerLost
from llmcloud_runtime.group import ENV_LOCAL_RANK

LOOK_SECONDS = 0.2

log = logging.getLogger(__name__)


def task_of_ranks() -> TrainingTask | None:
    """The task, if this process is to start its ranks; None if it is a rank itself.

    A task that cannot be read is the rank's to refuse.
    """
    if ENV_LOCAL_RANK in os.environ:
        return None
    try:
        task = given_task((TrainingTask,))
    except (TaskError, ValidationError):
        return None
    return task if isinstance(task, TrainingTask) and task.processes > 1 else None


@dataclass
class LocalRank:
    """A process of this pod, and where it says how it ended."""

    number: int
    process: "subprocess.Popen[bytes]"
    said: Path
    given_up: bool = False

    def give_up(self) -> None:
        """Kill it: the training is over, and it does not notice."""
        self.given_up = True
        self.process.kill()

    def outcome(self, *, asked: bool) -> Outcome:
        """What it said; of one that could not, what its end tells. `asked`: to stop."""
        try:
            return Outcome.model_validate_json(self.said.read_bytes())
        except (OSError, ValidationError):
            pass
        code = self.process.returncode
        if self.given_up:
            return outcomes.failure(
                PeerLost(f"Rank {self.number} of the pod did not end after another had failed.")
            )
        if code == -signal.SIGTERM and asked:
            return outcomes.failure(Interrupted())
        if code == -signal.SIGKILL:  # nobody else in a pod sends it
            return outcomes.failure(
                OutOfMemory(
                    f"Rank {self.number} of the pod was killed, most likely because the pod needed "
                    "more memory than it may use. Raise spec.resources.memory or lower the batch "
                    "size."
                )
            )
        return outcomes.failure(
            TaskError(
                f"Rank {self.number} of the pod ended with exit code {code} and without a word.",
                reason=Reason.CRASHED,
            )
        )


def launch(processes: int, grace_seconds: float, command: Sequence[str] | None = None) -> int:
    """Run the ranks of this pod, by default this very program; returns the pod's exit code.

    `grace_seconds`: so long after the first failure the others are killed.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    asked = False
    ranks: list[LocalRank] = []

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        for rank in ranks:
            rank.process.send_signal(signal.SIGTERM)

    with tempfile.TemporaryDirectory(prefix="llmcloud-ranks-") as folder:
        signal.signal(signal.SIGTERM, ask)
        for number in range(processes):
            ranks.append(_start(number, Path(folder), command or _this_program()))
            if asked:
                ranks[-1].process.send_signal(signal.SIGTERM)
        _await(ranks, grace_seconds)
        said = [rank.outcome(asked=asked) for rank in ranks]
    outcome = outcome_of_pod(said)
    outcomes.write(outcome)
    log.info("%s: %s", outcome.reason, outcome.message or "done")
    return outcomes.exit_code(outcome)


def outcome_of_pod(said: Sequence[Outcome]) -> Outcome:
    """Of the outcomes of the local ranks, the one that failed of its own, else of those that
    failed the first, else the first. The progress is the first rank's."""
    failed = [outcome for outcome in said if not outcome.succeeded]
    own = [outcome for outcome in failed if outcome.reason not in CONSEQUENCES]
    chosen = next(iter([*own, *failed, *said]))
    return chosen.model_copy(update={"progress": said[0].progress or chosen.progress})


def _this_program() -> list[str]:
    return [sys.executable, "-m", "llmcloud_runtime.train"]


def _start(number: int, folder: Path, command: Sequence[str]) -> LocalRank:
    said = folder / f"{number}.json"
    own = {ENV_LOCAL_RANK: str(number), ENV_TERMINATION_LOG: str(said)}
    if number > 0:
        own[ENV_REPORT_PORT] = "0"  # any that is free: nobody asks there
    return LocalRank(number, subprocess.Popen(command, env=os.environ | own), said)


def _await(ranks: Sequence[LocalRank], grace_seconds: float) -> None:
    failed_since: float | None = None
    while None in (codes := [rank.process.poll() for rank in ranks]):
        if failed_since is None and any(codes):
            failed_since = time.monotonic()
        if failed_since is not None and time.monotonic() - failed_since > grace_seconds:
            for rank in ranks:
                if rank.process.poll() is None:
                    rank.give_up()
        time.sleep(LOOK_SECONDS)
