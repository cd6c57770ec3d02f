"""Ports of the loopback interface: free ones for what is stopped and started again, and what answers on them."""

import contextlib
import http.client
import random
import socket
from collections.abc import Collection, Iterable
from pathlib import Path

from muniflow.errors import MuniflowError

HOST = "127.0.0.1"
OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The range from which the kernel gives ports to outgoing connections."""
FIRST_PORT = 10_000
LAST_PORT = 65_535
USUAL_OUTGOING = range(32_768, 61_000)
ATTEMPTS = 2_000


def free_ports(count: int, besides: Collection[int] = ()) -> list[int]:
    """Different ports that are free now and will not be given to an outgoing connection.

    A port of that other kind can be lost for good while its process restarts: a client that tries to connect to it
    may get the very port as its own, and is then connected with itself.

    Args:
        count: how many.
        besides: ports that are spoken for, though nobody listens there yet.

    Raises:
        MuniflowError: there are not so many.
    """
    outgoing = _outgoing()
    candidates = [port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in outgoing] or list(outgoing)
    candidates = [port for port in candidates if port not in besides]
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for port in random.sample(candidates, min(ATTEMPTS, len(candidates))):
            if len(found) == count:
                break
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server((HOST, port)))
                found.append(port)
        if len(found) < count:
            raise MuniflowError(f"no {count} free ports on {HOST}")
        return found


def taken_ports(ports: Iterable[int]) -> tuple[int, ...]:
    """Those on which a program listens already."""
    taken = []
    for port in ports:
        try:
            socket.create_server((HOST, port)).close()
        except OSError:
            taken.append(port)
    return tuple(taken)


def is_open(port: int, timeout_s: float = 1.0) -> bool:
    """Whether a program listens on this port."""
    try:
        socket.create_connection((HOST, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def speaks_amqp(port: int, timeout_s: float = 1.0) -> bool:
    """Whether a broker greets on this port: an open port alone says little."""
    try:
        with socket.create_connection((HOST, port), timeout=timeout_s) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"
    except OSError:
        return False


def says_ready(port: int, timeout_s: float = 1.0) -> bool:
    """Whether the process that serves at this port says at `/readyz` that it is ready."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _outgoing() -> range:
    try:
        first, last = OUTGOING.read_text().split()
        return range(int(first), int(last) + 1)
    except (OSError, ValueError):
        return USUAL_OUTGOING
