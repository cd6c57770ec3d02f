"""An HTTP request to an address that was looked up before: for URLs that people give.

No name is asked for, no proxy is used, no redirect followed, and nothing of an answer is read but its head.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from muniflow.model.callback import CallbackUrl

MAX_ADDRESSES = 3
"""Of a name, that are tried one after the other."""


def post(
    target: CallbackUrl,
    addresses: Sequence[tuple[int, Any]],
    headers: Mapping[str, str],
    body: bytes,
    *,
    tls: ssl.SSLContext,
    limit_s: float,
) -> int:
    """Send a request; returns the status of its answer.

    Args:
        target: what the request, and the certificate of the receiver, are for.
        addresses: families and addresses of the socket; the first that answers is connected to.
        headers: beside those of HTTP itself.
        body: of the request.
        tls: whom to trust.
        limit_s: how long all of it may take, however slowly it is answered.

    Raises:
        TimeoutError: it took longer.
        OSError: no connection, or TLS failed.
        HTTPException: the answer is no HTTP.
    """
    end_s = time.monotonic() + limit_s
    with contextlib.closing(_connected(addresses, end_s)) as plain, _cut_at(end_s, plain):
        stream = plain
        if target.scheme == "https":
            # The name of the URL is what the certificate is checked for, whatever address was connected to.
            stream = tls.wrap_socket(plain, server_hostname=target.host)
        with contextlib.closing(stream):
            return _exchange(stream, target, headers, body)


def _connected(addresses: Sequence[tuple[int, Any]], end_s: float) -> socket.socket:
    """Return a connection to the first of the addresses that answers.

    Raises:
        OSError: none does.
    """
    problem: OSError = TimeoutError()
    for family, address in addresses[:MAX_ADDRESSES]:
        if (left_s := end_s - time.monotonic()) <= 0:
            break
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(left_s)
            connection.connect(address)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise problem


@contextlib.contextmanager
def _cut_at(end_s: float, connection: socket.socket) -> Iterator[None]:
    """Cut a connection in both directions when its time is over: a timeout of a socket only bounds each read.

    Raises:
        TimeoutError: it was cut.
    """
    late = threading.Event()
    # One of its own: TLS takes the socket over, and closes it.
    with contextlib.closing(connection.dup()) as knife:

        def cut() -> None:
            late.set()
            with contextlib.suppress(OSError):
                knife.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(end_s - time.monotonic(), 0), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            if late.is_set():
                # Whatever was read: what a cut leaves may look like the end of an answer.
                raise TimeoutError


def _exchange(stream: socket.socket, target: CallbackUrl, headers: Mapping[str, str], body: bytes) -> int:
    """Send a request, and return the status of its answer; its body is not read."""
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = stream
    connection.auto_open = 0  # a second connection would ask for the name again
    try:
        connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
        known = {"Host": target.authority, "User-Agent": "muniflow", "Connection": "close"}
        for name, value in {**known, **headers, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        with connection.getresponse() as answer:
            return answer.status
    finally:
        connection.close()
