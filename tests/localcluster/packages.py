"""Debian packages, installed when missing.

Refuses to guess on other distributions: it names the packages to install by hand.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from shutil import which

from tests.localcluster.paths import LocalClusterError, locked, machine_folder, say

APT_GET = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300")


def missing_packages(names: Sequence[str]) -> list[str]:
    """Those of `names` that dpkg does not report as installed, in order."""
    if which("dpkg-query") is None:
        return list(names)
    missing = []
    for name in names:
        query = ("dpkg-query", "--show", "--showformat=${db:Status-Status}", name)
        answer = subprocess.run(query, capture_output=True, text=True, check=False)
        if answer.stdout != "installed":
            missing.append(name)
    return missing


def ensure_programs(packages: Mapping[str, str]) -> None:
    """Install the packages of those programs (name or path to package) that are not there.

    Programs from elsewhere, such as another vendor's containerd, are used as they are.
    """
    ensure_packages([package for program, package in packages.items() if not which(program)])


def ensure_packages(names: Sequence[str]) -> None:
    """Install those of the Debian packages `names` that are missing, quietly.

    Raises LocalClusterError when apt is absent, we are not root, or apt fails.
    """
    missing = missing_packages(names)
    if not missing:
        return
    if which("apt-get") is None or os.getuid() != 0:
        raise LocalClusterError(
            f"Debian packages are missing; as root: apt-get install {' '.join(missing)}"
        )
    with locked(machine_folder() / "apt.lock"):
        missing = missing_packages(names)  # another process may have installed them meanwhile
        if missing:
            install(missing)


def install(names: Sequence[str]) -> None:
    """Install packages with apt-get; its lists are fetched anew only if that fails."""
    words = " ".join(names)
    say(f"installing {words}")
    command_line = (*APT_GET, "install", "--no-install-recommends", "--no-remove", *names)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    output = ""
    for command in (command_line, (*APT_GET, "update"), command_line):
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            check=False,
        )
        output = done.stdout
        if command is command_line and done.returncode == 0:
            return
    raise LocalClusterError(f"apt-get install {words} failed: {output[-1000:].strip()}")
