"""What the containers of all engines share: how long they may take, what they mount, probes."""

from typing import Final

from llmcloud.api.contract import ENGINE_PORT, MODELS_PATH, REPORT_PORT
from llmcloud.plan.model import Manifest

LOAD_SECONDS: Final = 900
"""How long a replica may take to load its model before it is started anew."""
SETTLE_SECONDS: Final = 5
"""How long a replica that goes still takes requests, until no gateway sends any."""
MOUNTS: Final[tuple[Manifest, ...]] = (
    {"name": "models", "mountPath": MODELS_PATH, "readOnly": True},
    {"name": "shm", "mountPath": "/dev/shm"},
)


def model_path(served_name: str) -> str:
    """Where the fetcher lays the model down; the folder bears the served name."""
    return f"{MODELS_PATH}/{served_name}"


def serving_ports(port: int = ENGINE_PORT) -> list[Manifest]:
    """The port that gateways call."""
    return [{"name": "http", "containerPort": port}]


def report_ports() -> list[Manifest]:
    """The port that tells of readiness."""
    return [{"name": "report", "containerPort": REPORT_PORT}]


def before_stop() -> Manifest:
    """Serves on until no gateway sends any more; then comes SIGTERM."""
    return {"preStop": {"sleep": {"seconds": SETTLE_SECONDS}}}


def probe(path: str, port: int, *, period: int, failures: int) -> Manifest:
    """A GET that must be answered within three seconds."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def probes(started: Manifest, ready: Manifest, alive: Manifest) -> Manifest:
    """The three of a container."""
    return {"startupProbe": started, "readinessProbe": ready, "livenessProbe": alive}


def beside_sidecar() -> Manifest:
    """The probes of an engine whose sidecar says when it serves. What restarts the engine asks the
    engine itself: a sidecar that hangs must not cost a loaded model."""
    return probes(
        probe("/health", ENGINE_PORT, period=2, failures=LOAD_SECONDS // 2),
        probe("/ready", REPORT_PORT, period=2, failures=2),
        probe("/health", ENGINE_PORT, period=10, failures=6),
    )
