"""What a stack says of what its process did."""

import pytest
from benchmarks.kinds import KINDS, kind_of, shares_by_kind

WORKER = ["start (pika/adapters/select_connection.py)", "_on_delivery (muniflow/worker/consumer.py)"]
CHILD = ["child_main (muniflow/compute/child.py)", "process (muniflow/compute/process.py)"]


@pytest.mark.parametrize(("stack", "kind"), [
    (["start (pika/adapters/select_connection.py)", "poll (selectors.py)"], "client"),
    (WORKER, "Python"),
    ([*WORKER, "model_validate_json (pydantic/main.py)"], "Python"),
    ([*WORKER, "ack (muniflow/transport/link.py)", "send (pika/channel.py)"], "client"),
    ([*CHILD, "decode_jpeg (muniflow/images/turbo.py)"], "codec"),
    ([*CHILD, "gaussian (muniflow_blur/blur.py)"], "operation"),
    ([*CHILD, "write (muniflow/store/local.py)", "token_hex (secrets.py)"], "store"),
    (["record (muniflow_coordinator/state/sql.py)", "do_commit (sqlalchemy/engine/default.py)"], "ledger"),
    (["<module> (elsewhere.py)"], "Python"),
])  # fmt: skip
def test_the_innermost_function_that_tells_decides(stack, kind):
    assert kind_of(stack) == kind


def test_parts_make_one():
    parts = shares_by_kind([([*CHILD, "decode (muniflow/images/decode.py)"], 3), (CHILD, 1)])
    assert parts == dict.fromkeys(KINDS, 0.0) | {"codec": 0.75, "Python": 0.25}
    assert shares_by_kind([]) == dict.fromkeys(KINDS, 0.0)
