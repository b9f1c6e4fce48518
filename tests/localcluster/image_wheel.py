"""Our own wheel, the last layer of every image.

It is built when one of its sources changes and is the same, byte for byte, for the same sources. If
a source changes during the build, the wheel is built again.
"""

import hashlib
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.localcluster.image_store import run_with_progress
from tests.localcluster.paths import REPOSITORY, cache_folder, locked

SOURCE_DATE_EPOCH = "1577836800"


def read_project() -> dict[str, Any]:
    """pyproject.toml, parsed."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def source_files() -> list[Path]:
    """Every file that goes into the wheel or decides what does, sorted."""
    packages = read_project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = [REPOSITORY / "pyproject.toml", *REPOSITORY.glob("README.md")]
    files += REPOSITORY.glob("LICENSE*")
    for package in packages:
        files += (path for path in (REPOSITORY / package).rglob("*") if path.is_file())
    return sorted(path for path in files if "__pycache__" not in path.parts)


def source_digest() -> str:
    """What identifies the content of the wheel, without building it: 16 hex digits."""
    digest = hashlib.sha256()
    for path in source_files():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(REPOSITORY)} {content}\n".encode())
    return digest.hexdigest()[:16]


def ensure_builder() -> Path:
    """The `hatchling` program of a virtual environment that holds what [build-system] requires."""
    requires = read_project()["build-system"]["requires"]
    name = hashlib.sha256(" ".join((sys.version, *requires)).encode()).hexdigest()[:16]
    folder = cache_folder() / "wheel-builder" / name
    program = folder / "bin" / "hatchling"
    with locked(folder.with_suffix(".lock")):
        if not program.exists():
            log = folder.with_suffix(".log")
            run_with_progress("wheel builder", [sys.executable, "-m", "venv", str(folder)], log)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requires]
            run_with_progress("wheel builder's packages", pip, log)
    return program


def build_wheel(folder: Path) -> None:
    """Build the wheel into the new `folder`, unless a source changes meanwhile."""
    draft = folder.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    run_with_progress(
        "wheel",
        [str(ensure_builder()), "build", "--target", "wheel", "--directory", str(draft)],
        folder.with_suffix(".log"),
        environment={**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH},
        directory=REPOSITORY,
    )
    if source_digest() == folder.name:
        draft.rename(folder)


def ensure_wheel() -> Path:
    """The wheel of the working tree as it is now, in the cache."""
    while True:
        folder = cache_folder() / "wheels" / source_digest()
        if folder.exists():
            return next(folder.glob("*.whl"))
        with locked(cache_folder() / "wheels" / "lock"):
            if not folder.exists():
                build_wheel(folder)
