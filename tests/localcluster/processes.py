"""Long-running programs that outlive the command which started them, recorded in a folder.

A record holds the pid and the kernel's start time of the process, so a pid that was reused by
another program is never mistaken for ours, nor killed.
"""

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.localcluster.paths import LocalClusterError

STOP_SECONDS = 3
LOG_TAIL_BYTES = 1_500


@dataclass(frozen=True)
class Process:
    """A started program: its name in the cluster, pid, and start time in clock ticks since boot."""

    name: str
    pid: int
    start_ticks: int
    log: str

    @property
    def alive(self) -> bool:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # our own children would stay zombies
        return start_ticks(self.pid) == self.start_ticks

    def signal(self, number: int) -> None:
        """Send a signal, if the process still lives."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None for none or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


class ProcessFolder:
    """The programs of one cluster: records under FOLDER/pids, output under FOLDER/logs."""

    def __init__(self, folder: Path) -> None:
        self.pids = folder / "pids"
        self.logs = folder / "logs"

    def find(self, name: str) -> Process | None:
        """The recorded process `name`, dead or alive."""
        try:
            return Process(**json.loads((self.pids / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None

    def all(self) -> list[Process]:
        """Every recorded process, oldest first."""
        found = (self.find(file.stem) for file in self.pids.glob("*.json"))
        return sorted((p for p in found if p is not None), key=lambda p: (p.start_ticks, p.pid))

    def start(self, name: str, command: Sequence[str | Path]) -> Process:
        """Start `command` in a session of its own, its output in logs/NAME.log.

        The log of the start before is kept as NAME.log.previous.
        """
        self.pids.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        words = [str(word) for word in command]
        program = shutil.which(words[0])
        if program is None:
            raise LocalClusterError(f"the program {words[0]} is missing")
        if log.exists():
            log.replace(log.with_suffix(".log.previous"))
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            program,
            words,
            {"GOGC": "300", **os.environ},  # memory is there, cores are few
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        process = Process(name, pid, start_ticks(pid) or 0, str(log))
        draft = self.pids / f"{name}.draft"
        draft.write_text(json.dumps(asdict(process)))
        draft.replace(self.pids / f"{name}.json")
        return process

    def wait_until(self, name: str, ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until `ready()`; raise LocalClusterError, with the log's tail, if `name` dies."""
        process = self.find(name)
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if process is None or not process.alive:
                raise LocalClusterError(f"{name} died; {self.explain(name)}")
            if time.monotonic() > deadline:
                raise LocalClusterError(
                    f"{name} was not ready after {timeout_seconds:.0f} s; {self.explain(name)}"
                )
            time.sleep(0.1)

    def explain(self, name: str) -> str:
        """Where the log of `name` is, and its last lines."""
        log = self.logs / f"{name}.log"
        tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if log.exists() else ""
        return f"its log is {log}, and ends with:\n{tail}"

    def stop(self) -> None:
        """Stop every recorded process: SIGTERM to all, then SIGKILL to who lives after 3 s."""
        processes = self.all()
        for process in processes:
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(process.alive for process in processes):
            if time.monotonic() > deadline:
                for process in processes:
                    process.signal(signal.SIGKILL)
            time.sleep(0.05)
        for process in processes:
            (self.pids / f"{process.name}.json").unlink(missing_ok=True)
