"""The cgroup root of a node, in every hierarchy of the machine (cgroup v1, v2 or both)."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

KILL_SECONDS = 20


def hierarchies() -> list[tuple[str, Path]]:
    """The file system type ("cgroup" is v1, "cgroup2" is v2) and mount point of every hierarchy."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind = after.split()[0]
        if kind in ("cgroup", "cgroup2"):
            found.append((kind, Path(before.split()[4])))
    return found


def create_cgroup(name: str) -> None:
    """Make the cgroup `name` ("/llmcloud-0-a") with the controllers that the kubelet expects."""
    mounted = hierarchies()
    version_1 = any(kind == "cgroup" for kind, _ in mounted)
    for kind, mount in mounted:
        folder = mount / name.lstrip("/")
        if kind == "cgroup2":
            if not version_1:
                controllers = (mount / "cgroup.controllers").read_text().split()
                enable(mount, controllers)
                folder.mkdir(exist_ok=True)
                enable(folder, controllers)
            continue
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new v1 cgroup
            if (mount / setting).exists():
                (folder / setting).write_text((mount / setting).read_text())


def enable(folder: Path, controllers: list[str]) -> None:
    """Give the children of a v2 cgroup those of `controllers` that it can give."""
    for controller in controllers:
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def delete_cgroup(name: str) -> None:
    """Kill everything in the cgroup `name` and remove it with its children."""
    roots = [mount / name.lstrip("/") for _, mount in hierarchies()]
    deadline = time.monotonic() + KILL_SECONDS
    while pids := {pid for root in roots for pid in members(root)}:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for root in roots:
        for folder in reversed(list(tree(root))):
            remove(folder)


def tree(root: Path) -> Iterator[Path]:
    """The cgroup `root` and all below it, parents first; nothing if it is not there."""
    for folder, _, _ in os.walk(root):
        yield Path(folder)


def members(root: Path) -> Iterator[int]:
    """The pids in the cgroup `root` and below."""
    for folder in tree(root):
        with contextlib.suppress(OSError):
            yield from (int(line) for line in (folder / "cgroup.procs").read_text().split())


def remove(folder: Path) -> None:
    """Remove one empty cgroup; the kernel needs a moment after the last process died."""
    for _ in range(40):
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
