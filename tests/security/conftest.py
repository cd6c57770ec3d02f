"""A whole stack to attack, and gateways of its own with short limits."""

import pytest
from tests.integration.gateway.conftest import muniflow, own_gateway, stack
from tests.integration.gateway.help import form, picture
from tests.support import web

__all__ = ["large_answer", "muniflow", "own_gateway", "stack"]


@pytest.fixture(scope="session")
def large_answer(stack):
    """The path of a ZIP that is larger than all buffers on its way."""
    actions = {"operations": [["resize", "5000x5000"]], "output": "png"}
    sent = web.post(f"{stack.url}/v1/batches", **form(picture(0), actions=actions))
    batch_id = sent.json()["batch_id"]
    assert stack.settled(batch_id)["state"] == "done"
    return f"/v1/batches/{batch_id}/outputs.zip"
