"""Which URLs and addresses webhooks may be sent to. Pure."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Literal

from muniflow.model.callback import CallbackUrl, read_callback
from muniflow.runtime.settings import variable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
WebhookCode = Literal[
    "host_not_allowed",
    "address_not_allowed",
    "scheme_not_allowed",
    "name_unknown",
    "unreachable",
    "tls_failed",
    "timed_out",
    "redirected",
    "gone",
    "answer_refused",
    "secret_missing",
    "too_old",
    "internal_error",
]
"""Why a webhook was not delivered."""
AddressInfo = tuple[Any, Any, Any, str, Any]
"""As `socket.getaddrinfo` returns it."""

LINK_LOCAL: tuple[Network, ...] = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
NEVER = (*LINK_LOCAL, *LOOPBACK)
"""What no list of networks may hold: clouds give out credentials there, and the services of this machine listen."""
_CARRY_IPV4 = tuple(map(IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""IPv6 addresses that lead to an IPv4 address inside them, which may be private."""


class NotAllowed(Exception):
    """A webhook may not be sent there."""

    def __init__(self, code: WebhookCode, text: str) -> None:
        """Say why, for programs and for people."""
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class WebhookPolicy:
    """The operator's allow-list."""

    hosts: frozenset[tuple[str, int]]
    """Hosts with their ports. Empty: there are no webhooks."""
    networks: tuple[Network, ...] = ()
    """Networks that are not public and may be sent to all the same."""
    loopback: bool = False
    """Whether hosts of the list may be at a loopback address, where http is taken, too: for tests."""

    def target(self, url: str) -> CallbackUrl:
        """Return the parts of a URL that may be sent to, as far as its text tells.

        Raises:
            NotAllowed: it may not, or is no URL.
        """
        try:
            target = read_callback(url)
        except ValueError as error:
            raise NotAllowed("host_not_allowed", str(error)) from None
        if (target.host, target.port) not in self.hosts:
            place = f"{target.host}:{target.port}"
            raise NotAllowed("host_not_allowed", f"{place} is not in {variable('webhook_hosts')} of the coordinator")
        if target.scheme != "https" and not self.loopback:
            raise NotAllowed("scheme_not_allowed", "only https is taken")
        return target

    def addresses(self, target: CallbackUrl, found: Sequence[AddressInfo]) -> list[tuple[int, Any]]:
        """Return the families and addresses to connect to, out of the answer to one look-up.

        Raises:
            NotAllowed: one of them may not be sent to: a name that is of both kinds is not trusted with any.
        """
        checked = []
        for family, _, _, _, address in found:
            if family not in {socket.AF_INET, socket.AF_INET6}:
                continue
            self._require(target, ip_address(str(address[0]).partition("%")[0]))
            checked.append((family, address))
        if not checked:
            raise NotAllowed("name_unknown", f"{target.host} has no address")
        return checked

    def _require(self, target: CallbackUrl, address: Address) -> None:
        plain = (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
        if any(plain in network for network in LOOPBACK):
            if self.loopback:
                return
        elif target.scheme != "https":
            raise NotAllowed("scheme_not_allowed", "only https is taken")
        elif any(plain in network for network in self.networks) or _is_public(plain):
            return
        raise NotAllowed(
            "address_not_allowed",
            f"{target.host} is at {plain}, which is not public and in none of {variable('webhook_networks')}",
        )


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address.is_site_local or any(address in net for net in _CARRY_IPV4)):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
