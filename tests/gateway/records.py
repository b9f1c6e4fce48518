"""A key, and LLMAccessKeys that hold it."""

import hashlib
from collections.abc import Sequence
from typing import Any

from llmcloud.api.accesskey import AccessKeyRecord, LLMAccessKeySpec
from llmcloud.api.leases import KeyLease

KEY = "llmkey-of-a-test"


def record(
    key: str = KEY,
    namespace: str = "team-a",
    name: str = "ci",
    created: str = "2026",
    leases: Sequence[KeyLease] | None = None,
    **spec: Any,
) -> AccessKeyRecord:
    """A key as gateways know it; without `leases`, of a gateway alone."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return AccessKeyRecord(
        namespace=namespace,
        name=name,
        created=created,
        spec=LLMAccessKeySpec.model_validate({"sha256": digest, **spec}),
        leases=None if leases is None else list(leases),
    )


def bearer(key: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
