"""Events: one object per (uid, reason, message), written only for transitions, never awaited
for success: an event that cannot be posted is not worth a retry."""

import hashlib
import logging
from datetime import UTC, datetime

from llmcloud.api.names import API_VERSION, GROUP
from llmcloud.cluster.client import Client, ClusterError
from llmcloud.plan.model import Notice, Owner

logger = logging.getLogger(__name__)
_NOTE_CHARACTERS = 1024


class Recorder:
    """Posts events.k8s.io/v1 events under a fixed name."""

    def __init__(self, client: Client, identity: str) -> None:
        self._client = client
        self._identity = identity

    async def post(self, owner: Owner, notice: Notice) -> None:
        """One event about `owner`; an event with the same name is left as it is."""
        text = f"{owner.uid}/{notice.reason}/{notice.message}".encode()
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{owner.name}.{hashlib.sha256(text).hexdigest()[:16]}",
                "namespace": owner.namespace,
            },
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": f"{GROUP}/llmcloud",
            "reportingInstance": self._identity[:128],
            "action": "Reconcile",
            "reason": notice.reason,
            "type": "Warning" if notice.warning else "Normal",
            "note": notice.message[:_NOTE_CHARACTERS],
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": str(owner.kind),
                "namespace": owner.namespace,
                "name": owner.name,
                "uid": owner.uid,
            },
        }
        path = f"/apis/events.k8s.io/v1/namespaces/{owner.namespace}/events"
        try:
            await self._client.call("POST", path, body=body)
        except ClusterError as error:
            if error.status != 409:
                logger.warning("Event %s was not posted: %s", notice.reason, error.message)
