"""Connections to a provider: TLS, to addresses that an egress pod may reach.

A name is resolved here and the connection goes to the address that was checked, so that a name
that changes its mind reaches nothing else.
"""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from llmcloud_gateway.egress.dialects import Target
from llmcloud_gateway.upstream import EngineConnection, EngineUnreachable, Pool

Network = IPv4Network | IPv6Network
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressForbidden(Exception):
    """A name that leads to none but addresses of the cluster, the node or a private network."""


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Parsed. ValueError names the first that is none."""
    return tuple(ip_network(cidr) for cidr in cidrs)


def may_reach(address: str, allowed: Sequence[Network]) -> bool:
    """Whether an address is of the public internet, or of a network that is allowed besides."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip.sixtofour is not None:
            ip = ip.sixtofour
        elif ip in _NAT64:
            ip = ip_address(int(ip) & 0xFFFFFFFF)
    if any(ip.version == network.version and ip in network for network in allowed):
        return True
    return ip.is_global and not ip.is_multicast


class ProviderPool(Pool):
    """Connections to one host, of which idle ones are used again."""

    def __init__(
        self,
        target: Target,
        tls: ssl.SSLContext,
        allowed: Sequence[Network],
        connect_seconds: float,
        idle_seconds: float,
    ) -> None:
        super().__init__(f"{target.host}:{target.port}", connect_seconds, idle_seconds)
        self._tls = tls
        self._allowed = allowed

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> EngineConnection:
        """To the first address that may be reached and answers. AddressForbidden, OSError."""
        found = await loop.getaddrinfo(self._host, self._port, type=1)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        reachable = [address for address in addresses if may_reach(address, self._allowed)]
        if not reachable:
            raise AddressForbidden(
                f"{self._host} is {', '.join(addresses)}, which egress pods do not reach: it is "
                "not of the public internet nor of a network that the installation allows"
            )
        problem: OSError | None = None
        for address in reachable:
            try:
                _, connection = await loop.create_connection(
                    lambda: EngineConnection(loop),
                    address,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host,
                )
            except OSError as error:
                problem = error
            else:
                return connection
        raise problem or EngineUnreachable("no address")
