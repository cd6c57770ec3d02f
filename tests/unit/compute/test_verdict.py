"""Who is to blame when a child dies."""

import pytest

from muniflow.compute.exits import classify_exit
from muniflow.model.settlement import Fail


@pytest.mark.parametrize(
    ("status", "kill_reason", "strikes", "expected"),
    [
        (-11, None, 1, "crashed the decoder or the operation (signal 11, SIGSEGV)"),
        (-6, None, 1, "crashed the decoder or the operation (signal 6, SIGABRT)"),
        (-24, None, 1, "took longer than 60 s (MUNIFLOW_COMPUTE_TIMEOUT_S)"),
        (-9, "took longer than 60 s", 1, "took longer than 60 s"),
        (-9, None, 1, None),
        (-9, None, 2, "ended 2 compute children (signal 9, SIGKILL); most likely it needs more memory than there is"),
        (-15, None, 2, "ended 2 compute children (signal 15, SIGTERM)"),
        (1, None, 1, None),
        (1, None, 2, "ended 2 compute children (exit code 1)"),
    ],
)
def test_verdict(status, kill_reason, strikes, expected):
    assert classify_exit(status, kill_reason, strikes, 60.0) == (None if expected is None else Fail(expected))
