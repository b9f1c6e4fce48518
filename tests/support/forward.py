"""Forward a loopback port to the gateway's Service, again whenever the forwarded pod goes."""

import subprocess
import sys
import time

from tests.localcluster.registry import is_free
from tests.localcluster.tools import ensure_tool


def main(kubeconfig: str, port: str) -> None:
    """Forward until another program takes the port: kubectl ends when the pod behind it does."""
    command = [
        str(ensure_tool("kubectl")), "--kubeconfig", kubeconfig,
        "--namespace", "llmcloud-system", "port-forward", "service/llmcloud-gateway", f"{port}:80",
    ]  # fmt: skip
    while True:
        subprocess.run(command, check=False)
        if not is_free(int(port)):
            sys.exit(f"port {port} of 127.0.0.1 belongs to another program now")
        time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
