"""Processes of the benchmark: started on a core, waited for, their CPU time and memory read."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
START_SECONDS = 180.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Process:
    """One program with all of its children, on one core."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        core: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = log
        pinned = ["taskset", "--cpu-list", str(core), *command]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                pinned,
                stdout=out,
                stderr=out,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def wait_for(self, port: int) -> None:
        """Until something listens on `port`. RuntimeError with the log's end if nothing does."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        end = self._log.read_text(errors="replace")[-1000:]
        raise RuntimeError(f"{self.name} does not listen: {end}")

    def _pids(self) -> list[int]:
        """The process and what descends from it, which all are of its session."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    after_name = (folder / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(after_name[3]) == self._process.pid:
                    found.append(int(folder.name))
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far."""
        total = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total * TICK_SECONDS

    def memory_bytes(self) -> int:
        """Resident memory of all its processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        for pid in self._pids():
            if pid != self._process.pid:
                os.kill(pid, 9)
        self._process.kill()
        self._process.wait()


def python(module: str, *arguments: str) -> list[str]:
    """A module of ours in this interpreter."""
    return [sys.executable, "-m", module, *arguments]
