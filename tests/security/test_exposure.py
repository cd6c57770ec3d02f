"""What is seen from beside: cookies on their way, files of other users of the machine."""

from pathlib import Path

import pytest
from tests.integration.gateway.help import OwnGateway, form, own_gateways, picture
from tests.support import web

from muniflow_gateway.auth.access import COOKIE
from muniflow_gateway.auth.api_keys import make_key

OTHERS = 0o077
"""The rights of everybody but the owner of a file."""


@pytest.fixture(scope="module")
def behind_tls(stack, tmp_path_factory):
    """A gateway that is reached over HTTPS, and a key."""
    folder = tmp_path_factory.mktemp("tls")
    secret = make_key(folder / "keys", "page", {})
    own = {
        "MUNIFLOW_PUBLIC_URL": "https://imagery.example.org",
        "MUNIFLOW_GATEWAY_OPEN": "false",
        "MUNIFLOW_API_KEYS_FILE": str(folder / "keys"),
    }
    with own_gateways(stack.environment, folder, OwnGateway.ready) as start:
        yield start(**own), secret


def test_behind_tls_the_cookie_goes_over_nothing_else(behind_tls):
    gateway, secret = behind_tls
    answer = web.post(f"{gateway.url}/v1/session", json={"key": secret})
    assert answer.is_success
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"Secure", "HttpOnly"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" in web.request("DELETE", f"{gateway.url}/v1/session").headers["set-cookie"]


def test_behind_tls_browsers_are_told_to_come_back_that_way(behind_tls, stack):
    gateway, _ = behind_tls
    for path in ("/", "/livez", "/v1/batches", "/nothing"):
        assert "max-age=31536000" in web.get(f"{gateway.url}{path}").headers["strict-transport-security"]
    assert "strict-transport-security" not in web.get(f"{stack.url}/livez").headers


def test_what_was_sent_is_nobody_elses_to_read(behind_tls, stack):
    gateway, secret = behind_tls
    sent = web.post(f"{gateway.url}/process", headers={"X-Api-Key": secret}, timeout=60, **form(picture()))
    folder = stack.folder / ".muniflow/uploads" / sent.headers["X-Batch-Id"]
    found = [folder, *folder.rglob("*")]
    assert len(found) > 1
    assert not [path for path in found if path.stat().st_mode & OTHERS]


def test_the_ledger_is_nobody_elses_to_read(stack):
    ledger = Path(stack.state.database_url.removeprefix("sqlite:///"))
    assert not [path for path in (ledger, Path(f"{ledger}-wal")) if path.stat().st_mode & OTHERS]
