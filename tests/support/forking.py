"""Processes of the runtime image that start in milliseconds instead of seven CPU seconds.

Most of a trainer's start is loading torch and transformers: tests start it a hundred times. A fork
server loads them once; what it forks runs the same modules from there on.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from tests.support.ranks import Runtime

SERVER = Path(__file__).with_name("fork_server.py")
START_SECONDS = 300


@dataclass
class Forked:
    """What subprocess.Popen tells of a child, of a child of the fork server."""

    pid: int
    returncode: int | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def end(self, code: int) -> None:
        """It ended with `code`."""
        self.returncode = code
        self._ended.set()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it ended. Raises subprocess.TimeoutExpired."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it ended."""
        if self.returncode is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkingRuntime(Runtime):
    """A runtime image with a fork server in it."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.root, runtime.environment)
        (self.root / "work").mkdir(exist_ok=True)
        shutil.copy(SERVER, self.root / "work")
        self._server = subprocess.Popen(
            self.command([f"/work/{SERVER.name}"]),
            env=self.variables({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._new: Queue[Forked] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(
        self, log: Path, module: str, environment: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> Forked:
        """Run a module inside."""
        log.touch()
        request = {
            "module": module,
            "arguments": list(arguments),
            "environment": self.variables(environment),
            "log": str(Path("/") / log.relative_to(self.root)),
        }
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        return self._new.get(timeout=START_SECONDS)

    def close(self) -> None:
        """End the server and all that it forked."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        self._reader.join()

    def _read(self) -> None:
        running: dict[int, Forked] = {}
        assert self._server.stdout is not None
        with self._server.stdout as answers:
            for line in answers:
                said = json.loads(line)
                if "code" in said:
                    running.pop(said["pid"]).end(said["code"])
                else:
                    running[said["pid"]] = Forked(said["pid"])
                    self._new.put(running[said["pid"]])


@contextmanager
def forking(runtime: Runtime) -> Iterator[ForkingRuntime]:
    """The same runtime, whose processes are forked."""
    server = ForkingRuntime(runtime)
    try:
        yield server
    finally:
        server.close()
