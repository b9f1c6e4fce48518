"""OpenAI's own client for Node, as a program that says what it saw."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.localcluster import ensure_npm_modules

SCRIPT = Path(__file__).with_name("openai_client.cjs")


def use_node_client(base_url: str, model: str) -> dict[str, Any]:
    """What the client got by every call that it makes of one model. AssertionError if it fails."""
    modules = ensure_npm_modules("openai-node")
    done = subprocess.run(
        ("node", str(SCRIPT), base_url, model),
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
