"""Node programs and modules that tests need, from committed package.json and package-lock.json.

They lie in CACHE/npm/HASH, where HASH covers both files. The lock names digests and no hosts, so
that the registry is the machine's own. No install script runs.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.localcluster.packages import ensure_programs
from tests.localcluster.paths import LocalClusterError, cache_folder, locked, say
from tests.localcluster.tools import MODULES

PACKAGES = {"node": "nodejs", "npm": "npm"}
FILES = ("package.json", "package-lock.json")
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def ensure_npm_program(package: str, program: str) -> Path:
    """The path of `program` of the package that tools/PACKAGE pins, installed first if need be."""
    return ensure_npm_modules(package) / ".bin" / program


def ensure_npm_modules(package: str) -> Path:
    """The node_modules folder with what tools/PACKAGE pins, installed first if need be.

    Concurrent callers wait for one installation. Raises LocalClusterError if it fails.
    """
    ensure_programs(PACKAGES)
    source = MODULES / package
    digest = hashlib.sha256(b"".join((source / name).read_bytes() for name in FILES))
    folder = cache_folder() / "npm" / digest.hexdigest()[:16]
    if not folder.exists():
        with locked(cache_folder() / "locks" / f"npm-{folder.name}"):
            if not folder.exists():
                install(source, folder)
    return folder / "node_modules"


def install(source: Path, folder: Path) -> None:
    """Install into a draft beside `folder`, then put it in place."""
    say(f"installing {source.name}")
    draft = folder.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name in FILES:
        shutil.copy(source / name, draft)
    done = subprocess.run(INSTALL, cwd=draft, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalClusterError(f"installing {source.name} failed: {done.stderr[-1000:].strip()}")
    draft.replace(folder)
