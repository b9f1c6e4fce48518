"""What was asked of an API server, from its audit log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

OPERATOR_AGENT = "llmcloud-operator"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Request:
    """One finished request."""

    time: datetime
    user: str
    agent: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    uri: str
    decision: str
    """Of the authorizer: allow or forbid. Admission may refuse what is allowed."""

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES


def requests(log: Path) -> Iterator[Request]:
    """All finished requests in the log, oldest first; rotated files are read too."""
    rotated = sorted(log.parent.glob(f"{log.stem}-*{log.suffix}"))
    for path in [*rotated, log]:
        with path.open() as lines:
            for line in lines:
                if not line.endswith("\n"):
                    continue
                event = json.loads(line)
                if event["stage"] != "ResponseComplete" or "objectRef" not in event:
                    continue
                yield _request(event)


def _request(event: dict[str, dict[str, str]]) -> Request:
    ref = event["objectRef"]
    return Request(
        time=datetime.fromisoformat(str(event["requestReceivedTimestamp"])),
        user=event["user"].get("username", ""),
        agent=str(event.get("userAgent", "")),
        verb=str(event["verb"]),
        group=ref.get("apiGroup", ""),
        resource=ref.get("resource", ""),
        subresource=ref.get("subresource", ""),
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        uri=str(event["requestURI"]),
        decision=event.get("annotations", {}).get("authorization.k8s.io/decision", ""),
        code=int(event.get("responseStatus", {}).get("code", 0)),
    )
