"""The base image `debian:trixie-slim`, made from Debian's own packages instead of pulled.

mmdebstrap installs from the mirror in the machine's apt sources and verifies Debian's signatures.
The result is one tar in the cache, so that a fresh image store starts from it; it is made anew
when the recipe below changes, not when Debian does.
"""

import hashlib
import subprocess
from pathlib import Path

from tests.localcluster.image_store import run_with_progress
from tests.localcluster.packages import ensure_packages
from tests.localcluster.paths import LocalClusterError, cache_folder, locked

SUITE = "trixie"
SLIM_PATHS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
RECIPE = (
    "--variant=minbase",
    "--include=ca-certificates",
    *(f"--dpkgopt={path}" for path in SLIM_PATHS),
    SUITE,
)


def base_digest() -> str:
    """What identifies the recipe: 16 hex digits."""
    return hashlib.sha256("\n".join(RECIPE).encode()).hexdigest()[:16]


def base_path() -> Path:
    """Where the tar of the base image lies once made."""
    return cache_folder() / "base" / f"{SUITE}-{base_digest()}.tar"


def ensure_base() -> Path:
    """The tar of the base image's root file system, made first if it is not in the cache.

    Raises LocalClusterError when packages are missing or mmdebstrap fails.
    """
    path = base_path()
    if path.exists():
        return path
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            ensure_packages(("mmdebstrap", "debian-archive-keyring"))
            draft = path.with_suffix(".draft.tar")
            command = ["mmdebstrap", *RECIPE, str(draft), *sources()]
            run_with_progress(f"base image {SUITE}", command, path.with_suffix(".log"))
            draft.replace(path)
    return path


def sources() -> list[str]:
    """apt source lines of the suite and of its security updates, on the machine's mirrors."""
    query = (
        "apt-get",
        "indextargets",
        "--format",
        "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)",
        "Created-By: Packages",
    )
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    mirror, security = "", ""
    for line in answer.splitlines():
        origin, component, codename, uri = [*line.split(), "", "", "", ""][:4]
        if (origin, component) != ("Debian", "main") or not uri.startswith(("http:", "https:")):
            continue
        if codename.endswith("-security"):
            security = uri
        elif "-" not in codename:
            mirror = uri
    if not mirror:
        raise LocalClusterError(
            "apt knows no Debian mirror to make the base image from: add one to its sources"
        )
    lines = [f"deb {mirror} {SUITE} main"]
    return [*lines, f"deb {security} {SUITE}-security main"] if security else lines
