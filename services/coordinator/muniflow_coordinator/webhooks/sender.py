"""Sends one webhook: one look-up of the name, one connection to what it said, one answer. Runs beside the loop."""

import http.client
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

from muniflow.runtime.pinned_post import post
from muniflow_coordinator.webhooks.policy import AddressInfo, NotAllowed, WebhookCode, WebhookPolicy

ATTEMPT_S = 10.0
"""An attempt takes no longer from the connection on, however slowly a receiver answers."""
_OK = range(200, 300)
_REDIRECTS = range(300, 400)

Resolve = Callable[..., Sequence[AddressInfo]]
"""As `socket.getaddrinfo`."""


class SendFailure(NamedTuple):
    """A webhook was not delivered."""

    code: WebhookCode
    text: str
    """For people; with nothing of what the receiver answered but its status."""
    final: bool = False
    """Whether it is not tried again."""


@dataclass(frozen=True)
class WebhookSender:
    """Sends webhooks where the policy allows it. No proxy, no redirect, no answer is read beyond its headers."""

    policy: WebhookPolicy
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    resolve: Resolve = socket.getaddrinfo
    attempt_s: float = ATTEMPT_S

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> SendFailure | None:
        """Post `body`; returns `None` where the receiver took it (2xx)."""
        try:
            target = self.policy.target(url)
            found = self.resolve(target.host, target.port, type=socket.SOCK_STREAM)
            addresses = self.policy.addresses(target, found)
            status = post(target, addresses, headers, body, tls=self.tls, limit_s=self.attempt_s)
        except NotAllowed as refused:
            # What is not on the list will not come onto it by itself; a name may lead elsewhere tomorrow.
            return SendFailure(refused.code, str(refused), final=refused.code == "host_not_allowed")
        except socket.gaierror as error:
            return SendFailure("name_unknown", f"the name of the host is not known: {error.strerror}")
        except TimeoutError:
            return SendFailure("timed_out", f"no answer within {self.attempt_s:g} s")
        except ssl.SSLError as error:
            return SendFailure("tls_failed", f"TLS: {error.reason or type(error).__name__}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            return SendFailure("unreachable", f"no answer: {why}")
        return _failure_of(status)


def _failure_of(status: int) -> SendFailure | None:
    if status in _OK:
        return None
    if status in _REDIRECTS:
        return SendFailure("redirected", f"answered {status}; redirects are not followed: name the new address")
    if status == HTTPStatus.GONE:
        return SendFailure("gone", f"answered {status}: it takes no more", final=True)
    return SendFailure("answer_refused", f"answered {status}")


def nothing_sent(_url: str, _headers: Mapping[str, str], _body: bytes) -> SendFailure:
    """Fail as a sender does where there are no webhooks; it needs no certificates."""
    return SendFailure("host_not_allowed", "there are no webhooks here", final=True)
