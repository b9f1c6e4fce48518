"""kubectl, as the administrator of a cluster."""

import subprocess
from pathlib import Path

from tests.localcluster.tools import ensure_tool


def kubectl(folder: Path, *words: str, text: str | None = None) -> str:
    """The output of kubectl with the kubeconfig in `folder`, `text` its input.

    Raises subprocess.CalledProcessError, with kubectl's own explanation in its `stderr`.
    """
    command = [str(ensure_tool("kubectl")), f"--kubeconfig={folder / 'kubeconfig'}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, input=text).stdout
