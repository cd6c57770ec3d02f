"""Ports of the loopback interface for what is stopped and started again."""

import contextlib
import random
import socket
from pathlib import Path

from muniflow.errors import MuniflowError

HOST = "127.0.0.1"
OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The range from which the kernel gives ports to outgoing connections."""
FIRST_PORT = 10_000
LAST_PORT = 65_535
USUAL_OUTGOING = range(32_768, 61_000)
ATTEMPTS = 2_000


def free_ports(count: int) -> list[int]:
    """Different ports that are free now and will not be given to an outgoing connection.

    A port of that other kind can be lost for good while its process restarts: a client that tries to connect to it
    may get the very port as its own, and is then connected with itself.

    Raises:
        MuniflowError: there are not so many.
    """
    outgoing = _outgoing()
    candidates = [port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in outgoing] or list(outgoing)
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


def _outgoing() -> range:
    try:
        first, last = OUTGOING.read_text().split()
        return range(int(first), int(last) + 1)
    except (OSError, ValueError):
        return USUAL_OUTGOING
