"""What the containers of all engines share: how long they may take, what they mount, probes."""

from typing import Final

from llmcloud.api.contract import ENGINE_PORT, MODELS_PATH, REPORT_PORT
from llmcloud.plan.model import Manifest

LOAD_SECONDS: Final = 900
"""How long a replica may take to load its model before it is started anew."""
SETTLE_SECONDS: Final = 5
"""How long a replica that goes still takes requests, until no gateway sends any."""
Get = tuple[str, int]
"""A path and the port that answers it."""
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


def probes(started: Get, ready: Get, alive: Get) -> Manifest:
    """What must be answered within three seconds: once within `LOAD_SECONDS`, to get requests, and
    not to be started anew."""
    return {
        "startupProbe": _probe(started, period=2, failures=LOAD_SECONDS // 2),
        "readinessProbe": _probe(ready, period=2, failures=2),
        "livenessProbe": _probe(alive, period=10, failures=6),
    }


def _probe(get: Get, *, period: int, failures: int) -> Manifest:
    path, port = get
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def beside_sidecar() -> Manifest:
    """The probes of an engine whose sidecar says when it serves. What restarts the engine asks the
    engine itself: a sidecar that hangs must not cost a loaded model."""
    health = ("/health", ENGINE_PORT)
    return probes(health, ("/ready", REPORT_PORT), health)
