"""`make test`: checks while programs and images are being built, then pytest over everything.

Builds run in the background at low priority; a test that needs a program waits for it, under
the builder's own lock. Each step prints its seconds.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.localcluster.cluster import stop_unused_registry
from tests.localcluster.paths import cache_folder, locked

ROOT = Path(__file__).parent.parent
BIN = ROOT / ".venv" / "bin"
STATE = Path(os.environ.get("LLMCLOUD_STATE", ROOT / ".cluster"))
LANES = ("-n", "3", "--dist", "loadscope")  # see tests/conftest.py
CHECKS: tuple[tuple[str, list[str | Path]], ...] = (
    ("format", [BIN / "ruff", "format", "--check", "--quiet", "."]),
    ("lint", [BIN / "ruff", "check", "--quiet", "."]),
    ("types", [BIN / "mypy", "--no-error-summary", f"--cache-dir={cache_folder() / 'mypy'}"]),
    ("layers", [BIN / "lint-imports", "--no-logo"]),
)


def build_in_background() -> subprocess.Popen[bytes]:
    """Start building all programs and images; the log is in the state folder."""
    STATE.mkdir(parents=True, exist_ok=True)
    log = (STATE / "build.log").open("wb")
    command = [sys.executable, "-m", "tests.support.build"]
    print(f"building programs and images in the background, log: {STATE / 'build.log'}", flush=True)
    return subprocess.Popen(
        ["nice", "-n", "5", *command],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def check(name: str, command: list[str | Path]) -> None:
    """Run one check; end the run if it fails."""
    started = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"phase {name}: {time.monotonic() - started:.0f} s", flush=True)
    if status != 0:
        sys.exit(f"{name} failed: run `make check`")


def main(arguments: list[str]) -> int:
    """The exit status of pytest."""
    builder = build_in_background()
    try:
        with locked(cache_folder() / "checks.lock"):  # one writer of the type checker's cache
            for name, command in CHECKS:
                check(name, command)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *LANES, "--durations=25", "tests", *arguments],
            cwd=ROOT,
            check=False,
        ).returncode
    finally:
        os.killpg(builder.pid, signal.SIGTERM)
        builder.wait()
        stop_unused_registry()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
