"""buildah with its own store in the cache, and the machine's download settings for builds.

The store is apart from any other on the machine. What a build needs to reach the package
registries (pip's settings, the CA bundle) is mounted while it runs and stays out of the images.
"""

import ast
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.localcluster.paths import LocalClusterError, cache_folder, machine_folder, say

PROGRESS_SECONDS = 15
PIP_SETTINGS_MOUNT = "/tmp/.config/pip"
"""Where pip looks for its user's settings in a build; pods mount a volume over /tmp."""
CARRIED_PIP_SETTINGS = (
    "index-url",
    "extra-index-url",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
)


def run_with_progress(
    label: str,
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> None:
    """Run `command` with its output in `log`, printing `label` and the seconds every 15 s.

    Raises LocalClusterError with the end of the log when it fails.
    """
    started = time.monotonic()
    say(f"{label} ...")
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=directory, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        while True:
            try:
                process.wait(PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                say(f"{label} ... {time.monotonic() - started:.0f} s")
    if process.returncode != 0:
        end = log.read_text(errors="replace")[-2000:].strip()
        raise LocalClusterError(f"{label} failed ({log}): {end}")
    say(f"{label} took {time.monotonic() - started:.0f} s")


def folder() -> Path:
    """The store, buildah's temporary files and the builds' logs."""
    return cache_folder() / "buildah"


def buildah(*arguments: str) -> list[str]:
    """The command line of buildah on our store."""
    root = folder() / "storage"
    mounts = machine_folder() / f"buildah-{hashlib.sha256(bytes(root)).hexdigest()[:8]}"
    store = ("--root", str(root), "--runroot", str(mounts), "--storage-driver", "overlay")
    return ["buildah", *store, *arguments]


def environment() -> dict[str, str]:
    """buildah's environment: its temporary files are as large as the images and lie beside them."""
    temporary = folder() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return {**os.environ, "TMPDIR": str(temporary)}


def call(*arguments: str) -> str:
    """Run a short buildah command and return what it prints, stripped."""
    done = subprocess.run(
        buildah(*arguments), capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode != 0:
        raise LocalClusterError(f"buildah {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def image_exists(reference: str) -> bool:
    """True if the store holds `reference`."""
    done = subprocess.run(
        buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", reference),
        capture_output=True,
        env=environment(),
        check=False,
    )
    return done.returncode == 0


def pip_settings() -> dict[str, str]:
    """The machine's pip settings that a build needs too: where packages come from, and how."""
    command = (sys.executable, "-m", "pip", "config", "list")
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    from_files: dict[str, str] = {}
    from_environment: dict[str, str] = {}
    for section, name, value in re.findall(r"^(\S*)\.([\w-]+)=(.*)$", listing, re.MULTILINE):
        chosen = from_environment if section == ":env:" else from_files
        chosen[name] = str(ast.literal_eval(value))
    settings = from_files | from_environment
    return {name: settings[name] for name in CARRIED_PIP_SETTINGS if name in settings}


@contextmanager
def download_mount() -> Iterator[str]:
    """An option of `buildah bud` that mounts pip's settings and the CA bundle, read-only."""
    settings = pip_settings()
    with tempfile.TemporaryDirectory(prefix="llmcloud-pip-") as name:
        bundle = ssl.get_default_verify_paths().cafile
        if bundle is not None:
            shutil.copyfile(bundle, Path(name) / "ca.crt")
            settings["cert"] = f"{PIP_SETTINGS_MOUNT}/ca.crt"
        lines = [f"{key} = " + "\n  ".join(value.split()) for key, value in settings.items()]
        (Path(name) / "pip.conf").write_text("\n".join(("[global]", *lines, "")))
        yield f"--volume={name}:{PIP_SETTINGS_MOUNT}:ro"


def build(name: str, context: Path, *options: str) -> None:
    """Build images/NAME/Dockerfile in `context`, reusing every layer that has not changed."""
    with download_mount() as mount:
        command = buildah(
            "bud",
            "--layers",
            "--force-rm",
            "--isolation=chroot",
            "--network=host",
            "--pull-never",
            mount,
            f"--file={context / 'images' / name / 'Dockerfile'}",
            *options,
            str(context),
        )
        log = folder() / "logs" / f"{name}.log"
        run_with_progress(f"image {name}: build", command, log, environment=environment())


def import_root(tar: Path, *references: str) -> None:
    """Make an image of one layer from the tar of a root file system."""
    container = call("from", "scratch")
    call("add", container, str(tar), "/")
    call("commit", "--rm", container, references[0])
    for reference in references[1:]:
        call("tag", references[0], reference)


def pack_binary(binary: Path, reference: str, user: int) -> None:
    """Make an image that holds one static program and nothing else."""
    container = call("from", "scratch")
    path = f"/{binary.name}"
    call("copy", "--chmod", "0755", container, str(binary), path)
    call("config", "--user", f"{user}:{user}", "--entrypoint", f'["{path}"]', container)
    call("commit", "--rm", container, reference)


def push(name: str, reference: str, *, verify_tls: bool) -> None:
    """Push `reference`. zstd packs and unpacks several times as fast as gzip, on few cores."""
    compression = ("--compression-format", "zstd", "--compression-level", "1")
    log = folder() / "logs" / f"{name}-push.log"
    tls = f"--tls-verify={str(verify_tls).lower()}"
    command = buildah("push", *compression, tls, reference, f"docker://{reference}")
    run_with_progress(f"image {name}: push", command, log, environment=environment())


def remove_older(reference: str) -> None:
    """Remove the other tags of `reference`'s repository, and the layers only they used."""
    repository = reference.rpartition(":")[0]
    listed = call("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()
    older = [each for each in listed if each.startswith(f"{repository}:") and each != reference]
    if older:
        call("rmi", *older)
