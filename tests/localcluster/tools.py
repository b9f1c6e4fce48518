"""Go programs of the cluster, built from committed go.mod and go.sum files, when first needed.

A binary lies in CACHE/bin/HASH/NAME, where HASH covers everything that decides its content, so a
change of a version builds anew and nothing else does. Go itself is not installed: the machine has
it. Versions are named in the go.mod files only.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.localcluster.paths import LocalClusterError, cache_folder, locked, say, state_folder

MODULES = Path(__file__).with_name("tools")
PROGRESS_SECONDS = 15
DISK_LOOKS = 5
DISK_BYTES_NEEDED = 25_000_000_000


@dataclass(frozen=True)
class Tool:
    """A program: its name, the module folder that pins it, its Go package there."""

    name: str
    module: str
    package: str

    @property
    def folder(self) -> Path:
        return MODULES / self.module

    @property
    def flags(self) -> tuple[str, ...]:
        """What `go build` gets besides the package."""
        linker = "-s -w"
        if self.module == "kubernetes":
            linker += kubernetes_version_flags(module_version(self.folder, "k8s.io/kubernetes"))
        return ("-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags={linker}")


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("registry", "registry", "github.com/distribution/distribution/v3/cmd/registry"),
        Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        Tool("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
        Tool("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
        Tool(
            "kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"
        ),
        Tool("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
        Tool("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
        Tool("kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
        Tool("coredns", "coredns", "github.com/coredns/coredns"),
        Tool("pause", "pause", "."),
        Tool("helm", "helm", "helm.sh/helm/v3/cmd/helm"),
        Tool("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
        Tool("fake-gcs-server", "fake-gcs-server", "github.com/fsouza/fake-gcs-server"),
        Tool("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
        Tool("test-engine", "test-engine", "."),
        Tool("kubeconform", "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
        Tool("kueue", "kueue", "sigs.k8s.io/kueue/cmd/kueue"),
    )
}


def module_version(folder: Path, module: str) -> str:
    """The version of `module` that the go.mod in `folder` requires, such as "v1.37.2"."""
    text = (folder / "go.mod").read_text()
    found = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise LocalClusterError(f"{folder / 'go.mod'} does not require {module}")
    return found[1]


def module_folder(tool: Tool, module: str) -> Path:
    """Where the source of `module` lies, fetched first if it is not there, as go.sum has it."""
    command = ["go", "mod", "download", "-json", module]
    done = subprocess.run(
        command, cwd=tool.folder, env=go_environment(), check=True, capture_output=True, text=True
    )
    return Path(json.loads(done.stdout)["Dir"])


def kubernetes_version_flags(version: str) -> str:
    """Linker flags that make the programs report `version`; clients and kubelets compare it."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    return "".join(f" -X k8s.io/component-base/version.{k}={v}" for k, v in values.items())


def tool_path(tool: Tool) -> Path:
    """Where the binary of `tool` lies once built."""
    digest = hashlib.sha256(" ".join((tool.package, *tool.flags)).encode())
    for file in sorted((*tool.folder.glob("go.*"), *tool.folder.glob("*.go"))):
        digest.update(file.name.encode() + file.read_bytes())
    return cache_folder() / "bin" / digest.hexdigest()[:16] / tool.name


def ensure_tool(name: str) -> Path:
    """The path of the program `name`, built first if it is not in the cache.

    Concurrent callers wait for one build. Raises LocalClusterError for an unknown name, a missing
    or old Go, too little disk, or a failed build.
    """
    if name not in TOOLS:
        raise LocalClusterError(f"no tool is called {name}; there are {', '.join(TOOLS)}")
    tool = TOOLS[name]
    path = tool_path(tool)
    if path.exists():
        return path
    with locked(cache_folder() / "locks" / f"{path.parent.name}-{name}"):
        if not path.exists():
            build(tool, path)
    return path


def build(tool: Tool, path: Path) -> None:
    """Build `tool` to `path`, printing a line every 15 s."""
    go = shutil.which("go")
    if go is None:
        raise LocalClusterError(
            f"{tool.name} must be built and the program go is missing: install Go "
            f"{required_go(tool)} or newer"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    require_free_disk(path.parent)
    draft = path.with_suffix(".draft")
    command = [go, "build", *tool.flags, "-o", str(draft), tool.package]
    log = path.with_suffix(".log")
    started = time.monotonic()
    say(f"building {tool.name} ...")
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=tool.folder, env=go_environment(), stdout=output, stderr=output
        ) as process,
    ):
        while True:
            try:
                process.wait(PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                say(f"building {tool.name} ... {time.monotonic() - started:.0f} s")
    if process.returncode != 0:
        explanation = log.read_text()[-2000:].strip()
        if "GOTOOLCHAIN=local" in explanation:
            explanation = f"install Go {required_go(tool)} or newer. {explanation}"
        raise LocalClusterError(f"building {tool.name} failed: {explanation}")
    log.unlink()
    draft.replace(path)
    say(f"built {tool.name} in {time.monotonic() - started:.0f} s")


def required_go(tool: Tool) -> str:
    """The Go version that the go.mod of `tool` asks for."""
    found = re.search(r"^go (\S+)", (tool.folder / "go.mod").read_text(), re.MULTILINE)
    return found[1] if found else "1.26"


def go_environment() -> dict[str, str]:
    """The environment of `go build`; Go's own caches move only with an explicit LLMCLOUD_CACHE."""
    environment = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off"}
    if os.environ.get("LLMCLOUD_CACHE"):
        environment["GOCACHE"] = str(cache_folder() / "go-build")
        environment["GOMODCACHE"] = str(cache_folder() / "go-mod")
        environment["GOFLAGS"] = f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip()
    return environment


def require_free_disk(folder: Path) -> None:
    """Raise LocalClusterError if the file system of `folder` has no room for builds and images.

    They take 25 GB; what the cache and the clusters of this state folder hold of it already counts.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes >= DISK_BYTES_NEEDED:
        return
    held_bytes = sum(held(each) for each in {cache_folder(), state_folder()} if each.exists())
    if free_bytes + held_bytes < DISK_BYTES_NEEDED:
        raise LocalClusterError(
            f"{folder} has {free_bytes / 1e9:.0f} GB free, and builds and images need 25 GB, of "
            f"which {held_bytes / 1e9:.0f} GB are there: free some, or set LLMCLOUD_CACHE and "
            "LLMCLOUD_STATE to folders on another disk"
        )


def held(folder: Path) -> int:
    """The bytes on disk under `folder`; what goes meanwhile is not counted, mounts neither."""
    command = ("du", "--summarize", "--one-file-system", "--block-size=1", str(folder))
    for _ in range(DISK_LOOKS):
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.stdout:  # nothing, if a folder goes while du reads it
            return int(found.stdout.split()[0])
    return 0
