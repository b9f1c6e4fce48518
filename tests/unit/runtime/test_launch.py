"""The processes of one pod: each is asked to stop, and the pod says why it ended."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmcloud.api.contract import ExitCode, Outcome, Progress, Retry
from llmcloud.api.names import Reason
from llmcloud_runtime.launch import outcome_of_pod

END_SECONDS = 300
RANK = """
import json, os, pathlib, signal, time
rank = int(os.environ["LOCAL_RANK"])
here = pathlib.Path({folder!r})

def end(reason, retry="Environment", code=1):
    said = {{"succeeded": False, "reason": reason, "message": f"rank {{rank}}", "retry": retry}}
    pathlib.Path(os.environ["LLMCLOUD_TERMINATION_LOG"]).write_text(json.dumps(said))
    os._exit(code)

{body}
"""

LAUNCH = """
import sys
from llmcloud_runtime.launch import launch
sys.exit(launch(2, {grace}, [sys.executable, {script!r}]))
"""


def start(folder: Path, body: str, grace_seconds: float = 60) -> "subprocess.Popen[bytes]":
    script = folder / "rank.py"
    script.write_text(RANK.format(folder=str(folder), body=body))
    paths = ":".join(sys.path)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": paths, "LLMCLOUD_REPORT_PORT": "8123",
                   "LLMCLOUD_TERMINATION_LOG": str(folder / "said")}  # fmt: skip
    program = LAUNCH.format(grace=grace_seconds, script=str(script))
    return subprocess.Popen([sys.executable, "-c", program], env=environment)


def said(folder: Path) -> Outcome:
    return Outcome.model_validate_json((folder / "said").read_bytes())


def await_files(folder: Path, *names: str) -> None:
    deadline = time.monotonic() + END_SECONDS
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < deadline, sorted(folder.iterdir())
        time.sleep(0.05)


def test_a_sigterm_reaches_every_rank_and_each_ends_in_its_own_time(tmp_path: Path) -> None:
    body = """
def stop(number, frame):
    time.sleep(rank)
    (here / f"saved-{rank}").touch()
    end("Preempted", code=143)

signal.signal(signal.SIGTERM, stop)
(here / f"{rank}-{os.environ['LLMCLOUD_REPORT_PORT']}").touch()
while True:
    time.sleep(1)
"""
    process = start(tmp_path, body)
    await_files(tmp_path, "0-8123", "1-0")
    process.send_signal(signal.SIGTERM)
    assert process.wait(END_SECONDS) == ExitCode.INTERRUPTED
    assert (tmp_path / "saved-0").exists()
    assert (tmp_path / "saved-1").exists()
    assert said(tmp_path).reason is Reason.PREEMPTED


def test_the_pod_says_what_the_rank_said_that_failed_of_its_own(tmp_path: Path) -> None:
    body = """
if rank == 1:
    end("ConfigurationInvalid", "Never", 64)
end("PeerLost")
"""
    assert start(tmp_path, body).wait(END_SECONDS) == ExitCode.CONFIGURATION
    assert (said(tmp_path).reason, said(tmp_path).message) == (
        Reason.CONFIGURATION_INVALID,
        "rank 1",
    )


@pytest.mark.parametrize(
    ("number", "reason"),
    [("SIGKILL", Reason.OUT_OF_MEMORY), ("SIGSEGV", Reason.CRASHED)],
)
def test_a_rank_that_is_killed_is_told_of_and_one_that_hangs_is_not_waited_for(
    tmp_path: Path, number: str, reason: Reason
) -> None:
    body = f"""
if rank == 1:
    os.kill(os.getpid(), signal.{number})
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(1)
"""
    assert start(tmp_path, body, grace_seconds=1).wait(END_SECONDS) == ExitCode.FAILED
    assert (said(tmp_path).reason, said(tmp_path).retry) == (reason, Retry.USER)
    assert said(tmp_path).message.startswith("Rank 1 of the pod")


def outcome(reason: Reason, **members: object) -> Outcome:
    return Outcome.model_validate({"succeeded": reason is Reason.SUCCEEDED, "reason": reason,
                                   **members})  # fmt: skip


def test_of_outcomes_the_cause_comes_first_and_the_progress_is_the_first_ranks() -> None:
    progress = Progress(attempt=1, step=7)
    lost = outcome(Reason.PEER_LOST, progress=progress)
    hung = outcome(Reason.HUNG)
    asked = outcome(Reason.PREEMPTED)
    done = outcome(Reason.SUCCEEDED)
    assert outcome_of_pod([lost, hung]) == hung.model_copy(update={"progress": progress})
    assert outcome_of_pod([done, asked]).reason is Reason.PREEMPTED
    assert outcome_of_pod([done, done]).succeeded
