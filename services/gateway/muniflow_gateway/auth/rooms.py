"""What a gateway does few of at a time, with its limits."""

from muniflow_gateway.auth.slots import Room
from muniflow_gateway.settings import GatewaySettings

PLANS = Room("too many plans are being made", 4)
"""Each may list a folder and read headers."""


def streams(settings: GatewaySettings) -> Room:
    """For event streams that are open."""
    return Room("too many event streams are open", settings.max_streams)


def waiting(settings: GatewaySettings) -> Room:
    """For requests that wait for the end of a batch."""
    return Room("too many requests wait for a batch", settings.max_waiting)
