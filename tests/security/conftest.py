"""A whole stack to attack, and gateways of its own with short limits."""

from tests.integration.gateway.conftest import muniflow, own_gateway, stack

__all__ = ["muniflow", "own_gateway", "stack"]
