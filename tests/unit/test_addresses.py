"""Which addresses are of this machine only."""

import pytest

from muniflow.runtime.addresses import is_loopback


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("192.0.2.1", False), ("", False), ("10.0.0.1", False)],
)
def test_which_addresses_are_this_machine_only(host, local):
    assert is_loopback(host) is local
