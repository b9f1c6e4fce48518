"""The loopback image registry: one for all clusters of a state folder, its blobs in the cache.

It listens on 127.0.0.1 only. Blobs are kept in the cache, so a second run pushes nothing. A cluster
with nodes runs a second server over the same blobs, inside its own network (see node.py).
"""

import fcntl
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.localcluster.paths import LocalClusterError, cache_folder, locked, state_folder
from tests.localcluster.processes import ProcessFolder
from tests.localcluster.tools import ensure_tool

PREFERRED_PORT = 5001
PORTS_TRIED = 100

CONFIGURATION = """\
version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {blobs}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
"""


def registry_folder() -> Path:
    """Where the registry's port, pid and log are recorded."""
    return state_folder() / "registry"


def write_configuration(folder: Path, port: int) -> Path:
    """Write the server's configuration into `folder`; returns its path."""
    blobs = cache_folder() / "registry"
    blobs.mkdir(parents=True, exist_ok=True)
    file = folder / "registry.yaml"
    file.write_text(CONFIGURATION.format(blobs=blobs, port=port))
    return file


def ensure_registry() -> str:
    """Start the registry if it is not running; returns its address, such as "127.0.0.1:5001"."""
    binary = ensure_tool("registry")
    folder = registry_folder()
    with locked(folder / "lock"):
        processes = ProcessFolder(folder)
        recorded = folder / "port"
        preferred = int(recorded.read_text()) if recorded.exists() else PREFERRED_PORT
        process = processes.find("registry")
        if process is not None and process.alive and answers(preferred):
            return f"127.0.0.1:{preferred}"
        processes.stop()
        port = free_port(preferred)
        recorded.write_text(str(port))
        processes.start("registry", [binary, "serve", write_configuration(folder, port)])
        processes.wait_until("registry", lambda: answers(port), timeout_seconds=30)
        return f"127.0.0.1:{port}"


@contextmanager
def registry_held() -> Iterator[None]:
    """Keep the registry from being stopped meanwhile, by any process."""
    with holders_file().open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def stop_registry() -> None:
    """Stop the registry unless it is held; its blobs and its port stay for the next start."""
    with locked(registry_folder() / "lock"), holders_file().open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        ProcessFolder(registry_folder()).stop()


def holders_file() -> Path:
    """Locked, shared, by whoever pushes."""
    registry_folder().mkdir(parents=True, exist_ok=True)
    return registry_folder() / "held"


def answers(port: int) -> bool:
    """Whether a registry answers on the loopback `port`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/v2/", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port(preferred: int) -> int:
    """The first loopback port from `preferred` on that nobody listens on."""
    for port in range(preferred, preferred + PORTS_TRIED):
        if is_free(port):
            return port
    raise LocalClusterError(
        f"no port is free from {preferred} to {preferred + PORTS_TRIED - 1} on 127.0.0.1"
    )


def is_free(port: int) -> bool:
    """Whether nobody listens on the loopback `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
