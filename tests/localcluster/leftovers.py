"""What a cluster leaves on the machine when its programs are killed, and how it is cleared.

Pods outlive their kubelet and containerd; so do mounts, network namespaces and cgroups. Everything
is found by the names that the layout gives it, not by records, which may be missing.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.localcluster.cgroups import delete_cgroup
from tests.localcluster.layout import Layout
from tests.localcluster.network import delete_network, processes_inside

SHIM_SOCKETS = Path("/run/containerd/s")
KILL_SECONDS = 20


def clear_leftovers(layout: Layout) -> None:
    """Remove every trace of the cluster but its folder; its recorded programs are stopped."""
    if os.getuid() == 0:
        kill_all(layout)
        remove_shim_sockets(layout)
        for letter in "ab":
            delete_cgroup(layout.node_cgroup(letter))
        unmount_below(layout.run_folder)
        unmount_below(layout.folder)
        delete_network(layout)
    shutil.rmtree(layout.run_folder, ignore_errors=True)


def kill_all(layout: Layout) -> None:
    """Kill what runs inside the cluster's network, and the shims of its containers."""
    deadline = time.monotonic() + KILL_SECONDS
    while pids := {*processes_inside(layout), *shims(layout)}:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)


def shims(layout: Layout) -> list[int]:
    """The pids of containerd's shims whose command line names the cluster's run folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                shim = b"containerd-shim" in words[0]
                if shim and any(w.startswith(f"{layout.run_folder}/".encode()) for w in words):
                    found.append(int(process.name))
    return found


def remove_shim_sockets(layout: Layout) -> None:
    """Remove the sockets of dead shims, which lie in a folder that all containerds share."""
    for file in layout.run_folder.glob("*/containerd/io.containerd.runtime.v2.task/*/*/address"):
        socket = Path(file.read_text().removeprefix("unix://"))
        if socket.is_relative_to(SHIM_SOCKETS):
            socket.unlink(missing_ok=True)


def unmount_below(folder: Path) -> None:
    """Detach every mount under `folder`, the deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(unescape(line.split()[4])) for line in lines]
    for point in reversed([point for point in points if point.is_relative_to(folder)]):
        subprocess.run(["umount", "--lazy", str(point)], check=False, capture_output=True)


def unescape(word: str) -> str:
    """A path as /proc/self/mountinfo writes it, with its octal escapes undone."""
    return word.encode().decode("unicode_escape").encode("latin-1").decode()
