"""How much of the machine is ours, and what a process spends on it before it works."""

import math
import os
import sys
from pathlib import Path

CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
NVIDIA_DEVICE = Path("/dev/nvidiactl")
"""In every container that was given a GPU of NVIDIA's."""
STATE_BYTES = 16
"""Of a parameter while it learns: weight, gradient and Adam's two moments in float32."""
STATE_SHARE = 0.5
"""Of a device's memory; activations need the rest."""
SPIN_COUNT = "2000"
"""libgomp's threads spin for milliseconds by default, which burns the quota that the others need:
on two busy CPUs a training step took 0.57 CPU seconds instead of 0.21."""


def limit_from(quota: str, period: str) -> float | None:
    """CPUs that a quota per period stands for; None without a limit (`max`, `-1`)."""
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)


def threads_for(limit: float | None, processors: int) -> int:
    """Compute threads: one per whole or begun CPU of the limit, at most one per processor."""
    if limit is None:
        return processors
    return max(1, min(processors, math.ceil(limit)))


def prepare_process() -> None:
    """Let compute threads that wait sleep early, and leave out what only GPUs need.

    peft imports bitsandbytes where it is installed, and that torch's compiler: without a GPU a
    quarter of the CPU time of a process' start. Must come before torch is imported.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if not NVIDIA_DEVICE.exists():
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # counts as not installed


def too_large(parameters: int, memory_bytes: int | None) -> bool:
    """Whether one device cannot hold what learning so many parameters takes."""
    return memory_bytes is not None and parameters * STATE_BYTES > STATE_SHARE * memory_bytes


def cpu_threads(processes: int = 1) -> int:
    """Compute threads that this process should start, one of `processes` that share the CPUs."""
    return max(1, threads_for(_cgroup_limit(), len(os.sched_getaffinity(0))) // processes)


def _cgroup_limit() -> float | None:
    if CGROUP_V2.exists():
        quota, period = CGROUP_V2.read_text().split()
        return limit_from(quota, period)
    quota_file = CGROUP_V1 / "cpu.cfs_quota_us"
    if quota_file.exists():
        return limit_from(
            quota_file.read_text().strip(), (CGROUP_V1 / "cpu.cfs_period_us").read_text().strip()
        )
    return None
