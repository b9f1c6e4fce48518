"""Access keys: what clients send as the bearer token, and what it opens.

Only SHA-256 digests are known here. A digest leads to the keys that hold it (a user may put one
key into several LLMAccessKeys), which are compared in constant time; how long the look-up takes
tells at most something about the digest of what was sent, from which no key can be guessed.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence

from llmcloud.api.accesskey import AccessKeyRecord
from llmcloud.api.contract import Route
from llmcloud.api.leases import KeySample
from llmcloud_gateway.budgets import Budget, WallClock
from llmcloud_gateway.errors import GatewayError, key_required, key_unusable, model_not_allowed
from llmcloud_gateway.limits import Limits

_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+) *")


class AccessKey:
    """One LLMAccessKey as last seen."""

    __slots__ = ("_names", "_selector", "budget", "digest", "expires", "record")

    def __init__(self, record: AccessKeyRecord, budget: Budget) -> None:
        spec = record.spec
        self.record = record
        self.budget = budget
        self.digest = bytes.fromhex(spec.sha256)
        self.expires = spec.expires_at.timestamp() if spec.expires_at else None
        allowed = spec.deployments
        self._names = frozenset(allowed.names) if allowed and allowed.names is not None else None
        self._selector = allowed.selector if allowed else None

    def opens(self, route: Route) -> bool:
        """Whether the key, while it is in force, opens `route`."""
        if route.namespace != self.record.namespace:
            return False
        if self._names is not None:
            return route.name in self._names
        return self._selector is None or self._selector.selects(route.labels)

    def in_force(self, now: float) -> bool:
        """`now`: Unix seconds."""
        return not self.record.spec.disabled and (self.expires is None or now < self.expires)


class Keys:
    """All keys, by the digest that they hold; those of one digest by age.

    `gateway` names this process among all that share the keys' budgets.
    """

    def __init__(self, clock: WallClock, limits: Limits, gateway: str = "") -> None:
        self.loaded = False
        self.gateway = gateway
        self._clock = clock
        self._limits = limits
        self._by_name: dict[tuple[str, str], AccessKey] = {}
        self._by_digest: dict[bytes, list[AccessKey]] = {}

    def replace(self, records: Iterable[AccessKeyRecord]) -> None:
        """These are all keys from now on."""
        gone = set(self._by_name)
        for record in records:
            self.put(record)
            gone.discard((record.namespace, record.name))
        for namespace, name in gone:
            self.remove(namespace, name)
        self.loaded = True

    def put(self, record: AccessKeyRecord) -> None:
        """A new key, or a new version of one."""
        former = self.remove(record.namespace, record.name)
        budget = former.budget if former else self._new_budget()
        budget.update(record.spec.limits, record.leases)
        key = AccessKey(record, budget)
        self._by_name[(record.namespace, record.name)] = key
        alike = self._by_digest.setdefault(key.digest, [])
        alike.append(key)
        alike.sort(key=lambda k: (k.record.created, k.record.namespace, k.record.name))

    def _new_budget(self) -> Budget:
        limits = self._limits
        return Budget(self.gateway, self._clock, limits.budget_wait_seconds, limits.budget_waiting)

    def remove(self, namespace: str, name: str) -> AccessKey | None:
        """A key is gone, if it was known."""
        key = self._by_name.pop((namespace, name), None)
        if key is None:
            return None
        alike = self._by_digest[key.digest]
        alike.remove(key)
        if not alike:
            del self._by_digest[key.digest]
        return key

    def samples(self) -> list[KeySample]:
        """What was spent with each key that was used."""
        return [
            key.budget.sample(namespace, name)
            for (namespace, name), key in self._by_name.items()
            if key.budget.was_used
        ]

    def screen(self, headers: dict[bytes, bytes]) -> None:
        """GatewayError if a request bears no key that is known."""
        refusal = self.presented(headers).unknown()
        if refusal is not None:
            raise refusal

    def presented(self, headers: dict[bytes, bytes]) -> "Presented":
        """What a request's Authorization opens."""
        sent = _BEARER.fullmatch(headers.get(b"authorization", b""))
        if sent is None:
            return Presented(None, (), self._clock)
        digest = hashlib.sha256(sent[1]).digest()
        alike = self._by_digest.get(digest, ())
        return Presented(
            digest, [k for k in alike if hmac.compare_digest(k.digest, digest)], self._clock
        )


class Presented:
    """The keys that a request bears."""

    __slots__ = ("_clock", "_digest", "_keys")

    def __init__(self, digest: bytes | None, keys: Sequence[AccessKey], clock: WallClock) -> None:
        self._digest = digest
        self._keys = keys
        self._clock = clock

    def opening(self, route: Route) -> AccessKey | None:
        """The oldest key in force that opens `route`."""
        now = self._clock()
        return next((k for k in self._keys if k.opens(route) and k.in_force(now)), None)

    def sees(self, route: Route) -> bool:
        """Whether `route` is listed to the client."""
        return route.anonymous or self.opening(route) is not None

    def unknown(self) -> GatewayError | None:
        """Why nothing at all is opened, if no known key was sent."""
        if self._digest is None:
            return key_required()
        if not self._keys:
            return key_unusable("KeyUnknown", "No such key is known: check that it is whole.")
        return None

    def refusal(self, route: Route) -> GatewayError:
        """Why no key opens `route`."""
        unknown = self.unknown()
        if unknown is not None:
            return unknown
        now = self._clock()
        if any(key.in_force(now) for key in self._keys):
            return model_not_allowed(route.model)
        if all(key.record.spec.disabled for key in self._keys):
            return key_unusable("KeyDisabled", "The key is disabled. Ask who gave it to you.")
        return key_unusable("KeyExpired", "The key has expired. Ask for a new one.")
