"""Whose address a request has: that of the connection, or what a trusted proxy says."""

import ipaddress

from starlette.requests import HTTPConnection

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ONE_CLIENT_BITS = 64
"""Of an IPv6 address: the rest is for its owner to choose."""


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks and addresses with commas between them.

    Raises:
        ValueError: one is neither.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


class ClientAddresses:
    """Knows the proxies whose word counts."""

    def __init__(self, trusted_proxies: str) -> None:
        """Trust these networks, as `read_networks` reads them."""
        self._trusted = read_networks(trusted_proxies)

    def is_proxy(self, address: str) -> bool:
        """Whether this is a trusted proxy."""
        if not self._trusted:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)

    def of(self, request: HTTPConnection) -> str:
        """The address of a client: the last one in `X-Forwarded-For` that is no trusted proxy, where one sent it."""
        peer = request.client.host if request.client else ""
        if not self.is_proxy(peer):
            return peer
        for header in reversed(request.headers.getlist("x-forwarded-for")):
            for entry in reversed(header.split(",")):
                address = _without_port(entry.strip())
                if not self.is_proxy(address):
                    return address if _is_address(address) else peer
        return peer


def one_client(address: str) -> str:
    """What counts as one client: an IPv4 address, or the network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4 or found.ipv4_mapped is not None:  # noqa: PLR2004 - of the protocol
        return address
    return str(ipaddress.ip_network((address, ONE_CLIENT_BITS), strict=False))


def _without_port(entry: str) -> str:
    """Some proxies write `192.0.2.1:1234` and `[2001:db8::1]:1234`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
