"""Which addresses a user's URL may lead to: those of the internet, less what the rules refuse.

Pure. An address is judged, never a name: who judges must connect to what was judged.
"""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from llmcloud.api.contract import NetworkRules

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 behind a translator (RFC 6052): the last 32 bits are the address."""

HOST_AGENT: Final = ipaddress.IPv4Address("168.63.129.16")
"""Azure's host agent: answers every machine there, and has an address of the internet."""

TUNNELLED: Final = ipaddress.IPv6Network("2002::/16")


class Judge:
    """Judges addresses by the rules of the installation."""

    def __init__(self, rules: NetworkRules) -> None:
        self._allowed = [ipaddress.ip_network(network) for network in rules.allowed]
        self._refused = [ipaddress.ip_network(network) for network in rules.refused]

    def permits(self, text: str) -> bool:
        """Whether a connection may go there: `text` as getaddrinfo gives it."""
        return self._permits(_meant(ipaddress.ip_address(text.partition("%")[0])))

    def _permits(self, address: Address) -> bool:
        if any(address in network for network in self._allowed):
            return True
        if any(address in network for network in self._refused):
            return False
        return address.is_global and not (
            address.is_multicast
            or address.is_reserved
            or address in TUNNELLED
            or address == HOST_AGENT
        )


def plain(url: str) -> str:
    """A URL for messages and manifests: without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address is another writing of; else the address itself.

    6to4 and Teredo are tunnels that nobody needs: their addresses are not of the internet.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address
