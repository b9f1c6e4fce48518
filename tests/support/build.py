"""Build every program and image that tests need, those that are needed first at the front."""

import subprocess
import sys

from tests.localcluster import ensure_npm_modules

FIRST = (
    "versitygw", "fake-gcs-server",
    "registry", "etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "helm",
)  # fmt: skip


def main() -> None:
    """Programs first; the images' downloads overlap with the rest."""
    local = [sys.executable, "-m", "tests.localcluster"]
    subprocess.run([*local, "build", *FIRST], check=True)
    images = subprocess.Popen([*local, "images"])
    for package in ("azurite", "openai-node"):
        ensure_npm_modules(package)
    subprocess.run([*local, "build"], check=True)
    sys.exit(images.wait())


if __name__ == "__main__":
    main()
