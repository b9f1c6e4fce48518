"""The images: built from images/*/Dockerfile and pushed to a registry, if they are not there yet.

An image's tag is the hash of all that goes into it, so a tag in the registry is never built or
pushed again, and a manifest that names it always means the same code. REGISTRY=host:port in the
environment names the user's own registry; without it the loopback registry is started. Nothing is
pulled from a public registry: the base image comes from Debian's packages.
"""

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.localcluster import image_store as store
from tests.localcluster.image_base import base_digest, ensure_base
from tests.localcluster.image_wheel import ensure_wheel
from tests.localcluster.packages import ensure_programs
from tests.localcluster.paths import REPOSITORY, LocalClusterError, locked, say
from tests.localcluster.registry import ensure_registry, registry_held
from tests.localcluster.tools import ensure_tool

DOCKERFILE_IMAGES = ("runtime", "data", "operator", "gateway")
"""The largest first: its downloads overlap with the other builds."""
BINARY_IMAGES = ("versitygw", "test-engine")
"""One Go program of `tools` each, packed alone."""
ALL = (*DOCKERFILE_IMAGES, "versitygw")
"""What is installed; `test-engine` is for tests only."""

BASE = "docker.io/library/debian:trixie-slim"
USER_ID = 65532
PARALLEL_BUILDS = 2
HEAD_TIMEOUT_SECONDS = 10
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


def is_loopback(registry: str) -> bool:
    """True for a registry on this machine, which speaks plain HTTP."""
    return registry.startswith(("127.", "localhost:", "[::1]:"))


def is_pushed(reference: str) -> bool:
    """True if the registry has `reference`. One that wants a login counts as not having it.

    Raises LocalClusterError when the registry does not answer.
    """
    repository, _, tag = reference.rpartition(":")
    registry, _, path = repository.partition("/")
    scheme = "http" if is_loopback(registry) else "https"
    request = urllib.request.Request(
        f"{scheme}://{registry}/v2/{path}/manifests/{tag}",
        method="HEAD",
        headers={"Accept": MANIFEST_TYPES},
    )
    handlers = [urllib.request.ProxyHandler({})] if is_loopback(registry) else []
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=HEAD_TIMEOUT_SECONDS):
            return True
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):
            return False
        raise LocalClusterError(f"the registry {registry} answered {error} for {path}") from error
    except OSError as error:
        raise LocalClusterError(
            f"the registry {registry} does not answer ({error}): check REGISTRY"
        ) from error


def copy_context(name: str, folder: Path) -> None:
    """Copy what image `name` is built from, and nothing else, into the new `folder`.

    A copy, so that the tag fits the image even if the working tree changes during the build.
    """
    dockerfile, lock = Path("images", name, "Dockerfile"), Path("requirements", f"{name}.lock")
    wheel = ensure_wheel()
    files = {dockerfile: REPOSITORY / dockerfile, lock: REPOSITORY / lock}
    files[Path("dist", wheel.name)] = wheel
    shutil.rmtree(folder, ignore_errors=True)
    for path, source in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def context_tag(folder: Path) -> str:
    """The tag of an image: 16 hex digits over the base image's recipe and the files of `folder`."""
    digest = hashlib.sha256(base_digest().encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()[:16]


def build_dockerfile(name: str, context: Path, reference: str) -> None:
    """Build image `name` after what all Dockerfiles share: the base image and the first stage."""
    pinned = f"localhost/llmcloud/base:{base_digest()}"
    with locked(store.folder() / "base.lock"):
        if not store.image_exists(pinned):
            store.import_root(ensure_base(), BASE, pinned)
        store.build(name, context, "--target=python")
    store.build(name, context, f"--tag={reference}")


def ensure_image(name: str, registry: str) -> str:
    """The reference of image `name` in `registry`, built and pushed first if it is not there."""
    context = store.folder() / "contexts" / name
    with locked(store.folder() / f"{name}.lock"):
        if name in BINARY_IMAGES:
            tag = ensure_tool(name).parent.name
        else:
            copy_context(name, context)
            tag = context_tag(context)
        reference = f"{registry}/llmcloud/{name}:{tag}"
        if is_pushed(reference):
            say(f"image {name}: unchanged")
            return reference
        ensure_programs({"buildah": "buildah"})
        if name in BINARY_IMAGES:
            store.pack_binary(ensure_tool(name), reference, USER_ID)
        else:
            build_dockerfile(name, context, reference)
        store.push(name, reference, verify_tls=not is_loopback(registry))
    return reference


def find_registry() -> str:
    """host:port of the registry to push to: REGISTRY, or our own, started if need be."""
    return os.environ.get("REGISTRY", "").rstrip("/") or ensure_registry()


def build_images(names: Sequence[str] = ALL) -> dict[str, str]:
    """Have the images `names` in the registry; returns each name's reference.

    Raises LocalClusterError for an unknown name or whatever stopped a build, with its log's end.
    """
    known = DOCKERFILE_IMAGES + BINARY_IMAGES
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise LocalClusterError(f"no image is called {unknown[0]}; there are {', '.join(known)}")
    ordered = sorted(set(names), key=known.index)
    with registry_held(), ThreadPoolExecutor(PARALLEL_BUILDS) as pool:
        found = pool.submit(find_registry)
        if set(ordered) & set(DOCKERFILE_IMAGES):
            base = pool.submit(ensure_base)
            ensure_wheel()
            base.result()
        registry = found.result()
        references = list(pool.map(lambda name: ensure_image(name, registry), ordered))
    remove_older(references)
    return dict(zip(ordered, references, strict=True))


def chart_values(images: Mapping[str, str]) -> dict[str, object]:
    """The chart's values for references `host:port/path:tag`, by name; other images stay theirs."""
    values = {}
    for name, reference in images.items():
        repository, _, tag = reference.rpartition(":")
        values[name] = {"repository": repository, "tag": tag}
    return {"images": values}


def remove_older(references: Sequence[str]) -> None:
    """Remove older tags once nothing of ours builds: buildah trips over images that go meanwhile.

    Another process may still build; then they stay until the next time.
    """
    if not (store.folder() / "storage").exists():
        return
    try:
        for reference in references:
            store.remove_older(reference)
    except LocalClusterError as error:
        say(f"older images stay for now: {error}")
