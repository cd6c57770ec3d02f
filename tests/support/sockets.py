"""What a client sees of its connection."""

import socket


def has_ended(client: socket.socket) -> bool:
    """Whether the other end has closed a connection, now or within a moment; what it says before is read."""
    client.settimeout(0.05)
    try:
        return client.recv(65536) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
