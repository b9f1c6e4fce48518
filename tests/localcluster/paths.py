"""Where things lie: the cache (tools, image blobs) and the state (one folder per cluster).

The cache outlives clusters; the state of a cluster is gone after `down`.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class LocalClusterError(Exception):
    """What cannot work on this machine, or stopped working: one sentence with the remedy."""


def say(line: str) -> None:
    """Tell the user about progress; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def exit_status(action: Callable[[], int]) -> int:
    """What `action` returns; a sentence on standard error and 1 if it cannot be done."""
    try:
        return action()
    except LocalClusterError as error:
        say(str(error))
    except subprocess.CalledProcessError as error:
        explanation = (error.stderr or "").strip()
        say(f"{' '.join(map(str, error.cmd))} failed: {explanation}")
    return 1


def cache_folder() -> Path:
    """The folder of built tools and registry blobs: LLMCLOUD_CACHE or ~/.cache/llmcloud."""
    return Path(os.environ.get("LLMCLOUD_CACHE") or Path.home() / ".cache/llmcloud").absolute()


def state_folder() -> Path:
    """The folder of all clusters' states: LLMCLOUD_STATE or .cluster in the repository."""
    return Path(os.environ.get("LLMCLOUD_STATE") or REPOSITORY / ".cluster").absolute()


def machine_folder() -> Path:
    """What all clusters of the machine share: locks, claims, sockets; per user unless root."""
    if os.getuid() == 0:
        return Path("/run/llmcloud")
    return Path(tempfile.gettempdir()) / f"llmcloud-{os.getuid()}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made if absent); waits for other processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
