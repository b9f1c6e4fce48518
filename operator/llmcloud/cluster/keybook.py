"""What gateways report of keys, and which keys therefore need a look.

Holds the last samples of every gateway and the usage since this process leads; what is in the
keys' status is the beginning of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from llmcloud.api.accesskey import KeyUsage, LLMAccessKeySpec
from llmcloud.api.contract import GatewaySamples
from llmcloud.api.leases import KeySample
from llmcloud.plan.accesskey import USAGE_SECONDS, leases_of
from llmcloud.plan.model import Owner, parse, timestamp

KeyName = tuple[str, str]
"""Namespace and name."""
SILENT_SECONDS: Final = 10.0
"""A gateway that was not heard for so long has no demands."""
FORGOTTEN_SECONDS: Final = 3600.0
"""One that comes back later would be counted from its beginning again."""


@dataclass
class _Gateway:
    heard: float
    keys: dict[KeyName, KeySample] = field(default_factory=dict)


@dataclass
class _Watched:
    owner: Owner
    spec: LLMAccessKeySpec
    base: KeyUsage
    looked: float


@dataclass
class _Delta:
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    last_used: int = 0


class KeyBook:
    """Samples of keys by gateway. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._gateways: dict[str, _Gateway] = {}
        self._deltas: dict[KeyName, _Delta] = {}
        self._watched: dict[KeyName, _Watched] = {}
        self._begun = False
        self._now = 0.0

    def record(self, now: float, heard: Iterable[GatewaySamples | None]) -> None:
        """One round. Gateways heard in the first one were counted by the leader before."""
        first, self._begun = not self._begun, True
        self._now = now
        for samples in heard:
            if samples is None or not samples.gateway:
                continue
            known = self._gateways.get(samples.gateway)
            keys = {(sample.namespace, sample.name): sample for sample in samples.keys}
            if not first:
                self._count(keys, known.keys if known else {})
            self._gateways[samples.gateway] = _Gateway(now, keys)
        gone = [name for name, g in self._gateways.items() if now - g.heard > FORGOTTEN_SECONDS]
        for name in gone:
            del self._gateways[name]

    def _count(
        self, keys: Mapping[KeyName, KeySample], before: Mapping[KeyName, KeySample]
    ) -> None:
        for key, sample in keys.items():
            last = before.get(key)
            if (
                last is not None
                and last.requests == sample.requests
                and (
                    last.input_tokens + last.output_tokens
                    == sample.input_tokens + sample.output_tokens
                )
            ):
                continue
            delta = self._deltas.setdefault(key, _Delta())
            delta.requests += sample.requests - (last.requests if last else 0)
            delta.input_tokens += sample.input_tokens - (last.input_tokens if last else 0)
            delta.output_tokens += sample.output_tokens - (last.output_tokens if last else 0)
            delta.last_used = max(delta.last_used, sample.last_used)

    def samples(self, namespace: str, name: str) -> dict[str, KeySample]:
        """The last samples of a key by gateway."""
        key = (namespace, name)
        return {
            gateway: known.keys[key]
            for gateway, known in self._gateways.items()
            if key in known.keys and self._now - known.heard <= SILENT_SECONDS
        }

    def watch(self, owner: Owner) -> KeyUsage | None:
        """Note a key as it is; its usage in all, None if this process has heard of none."""
        key = (owner.namespace, owner.name)
        spec = parse(LLMAccessKeySpec, owner.spec)
        if isinstance(spec, str):
            return None
        known = self._watched.get(key)
        if known is None or known.owner.uid != owner.uid:
            base = KeyUsage.model_validate(owner.status.get("usage") or {})
            if known is not None:
                self._deltas.pop(key, None)
        else:
            base = known.base
        self._watched[key] = _Watched(owner, spec, base, self._now)
        return self._usage(key, base)

    def _usage(self, key: KeyName, base: KeyUsage) -> KeyUsage | None:
        delta = self._deltas.get(key)
        if delta is None:
            return None
        return KeyUsage(
            requests=base.requests + delta.requests,
            input_tokens=base.input_tokens + delta.input_tokens,
            output_tokens=base.output_tokens + delta.output_tokens,
            last_used_time=timestamp(datetime.fromtimestamp(delta.last_used, UTC)),
        )

    def forget(self, namespace: str, name: str) -> None:
        """The key is gone."""
        self._watched.pop((namespace, name), None)
        self._deltas.pop((namespace, name), None)

    def due(self, now: datetime) -> list[KeyName]:
        """Keys whose leases should change, or whose usage was not written for a while."""
        sampled = {key for gateway in self._gateways.values() for key in gateway.keys}
        return sorted(key for key in sampled if self._is_due(key, now))

    def _is_due(self, key: KeyName, now: datetime) -> bool:
        watched = self._watched.get(key)
        if watched is None:
            return True
        owner = watched.owner
        leases = [lease.wire() for lease in leases_of(owner, watched.spec, self.samples(*key), now)]
        if leases != (owner.status.get("leases") or []):
            return True
        usage = self._usage(key, watched.base)
        unwritten = usage is not None and usage.wire() != owner.status.get("usage")
        return unwritten and self._now - watched.looked >= USAGE_SECONDS
